"""Every network there is, in one list that a person can read. No torch is needed to read it."""

from difflib import get_close_matches
from fnmatch import fnmatchcase

from osler.errors import RecipeError
from osler.models.card import System

SYSTEMS: tuple[System, ...] = (
    # general vision
    System("unet", "osler.models.unet:UNet"),
    System("classifier", "osler.models.classifier:Classifier"),
    System("densenet-121", "osler.models.densenet:DenseNet"),
    System("efficientnet-b0", "osler.models.efficientnet:EfficientNet"),
    System("efficientnet-lite0", "osler.models.efficientnet_lite:EfficientNetLite"),
    System("mobilenet-v3-large", "osler.models.mobilenet:large"),
    System("mobilenet-v3-small", "osler.models.mobilenet:small"),
    System("vit-base", "osler.models.vit_base:vit"),
    System("vit-large", "osler.models.vit_base:vit"),
    System("mae-vit-base", "osler.models.mae:mae"),
    System("swin-tiny", "osler.models.swin:Swin"),
    System("resnet-18", "osler.models.resnet:resnet"),
    System("resnet-50", "osler.models.resnet:resnet"),
    System("se-resnet-50", "osler.models.resnet:se_resnet"),
    System("monai-unet", "osler.models.monai_unet:flat"),
    System("monai-unet-3d", "osler.models.monai_unet:deep"),
    System("dynunet-2d", "osler.models.dynunet:flat"),
    System("dynunet", "osler.models.dynunet:deep"),
    System("centre-detector", "osler.models.centre_detector:flat"),
    System("centre-detector-3d", "osler.models.centre_detector:deep"),
    System("resenc-unet", "osler.models.resenc_unet:ResEncUNet"),
    System("swin-unetr", "osler.models.swin_unetr:SwinUNETR"),
    System("stu-net-small", "osler.models.stunet:small"),
    System("stu-net-base", "osler.models.stunet:base"),
    System("stu-net-large", "osler.models.stunet:large"),
    System("stu-net-huge", "osler.models.stunet:huge"),
    # retinal foundation models
    System("retfound-vit-large", "osler.models.retfound:retfound"),
    System("retfound-dinov2-vit-large", "osler.models.retfound:retfound_dinov2"),
    System("retfound-green-vit-small", "osler.models.retfound:retfound_green"),
    System("visionfm-vit-base", "osler.models.visionfm:visionfm"),
    System("deepdr-vit-base", "osler.models.deepdr:deepdr"),
    System("deepdr-vit-base-lesions", "osler.models.deepdr:deepdr_lesions"),
    System("eyefm-vit-large", "osler.models.eyefm:eyefm"),
    System("eyefm-vit-large-pretraining", "osler.models.eyefm:eyefm_pretraining"),
    # segmentation by prompts
    System("sam-vit-base", "osler.models.sam:sam"),
    System("medsam", "osler.models.sam:medsam"),
    System("medsegx", "osler.models.medsegx:medsegx"),
    System("litemedsam", "osler.models.litemedsam:litemedsam"),
    # segmentation into classes
    System("transunet", "osler.models.transunet:TransUNet"),
    System("transunet-pp", "osler.models.transunet_pp:TransUNetPP"),
    # grading
    System("cabnet", "osler.models.cabnet:CABNet"),
    # cross-modal
    System("mmformer", "osler.models.mmformer:MMFormer"),
    System("fusion", "osler.models.fusion:Fusion"),
    # image and language
    System("flair", "osler.models.flair:flair"),
    System("keepfit", "osler.models.keepfit:keepfit"),
    System("retizero", "osler.models.retizero:retizero"),
    System("clip", "osler.models.clip:clip"),
    System("clip-resnet-50", "osler.models.clip_resnet:clip_resnet"),
    System("biomedclip", "osler.models.biomedclip:biomedclip"),
    System("medclip", "osler.models.medclip:medclip"),
    System("medclip-resnet-50", "osler.models.medclip:medclip_resnet"),
    System("image-text", "osler.models.image_text:ImageTextPair"),
    # generation and registration
    System("autoencoder-kl", "osler.models.autoencoder_kl:Autoencoder"),
    System("latent-diffusion", "osler.models.latent_diffusion:Denoiser"),
    System("spade", "osler.models.spade:Spade"),
    System("patch-discriminator", "osler.models.spade:PatchDiscriminator"),
    System("voxelmorph", "osler.models.voxelmorph:deep"),
    System("voxelmorph-2d", "osler.models.voxelmorph:flat"),
    # generative language
    System("question-net", "osler.models.question_net:QuestionNet"),
    System("tiny-vlm", "osler.models.tiny_vlm:TinyVLM"),
    System("blip", "osler.models.generative:blip"),
    System("blip-2", "osler.models.generative:blip2"),
    System("instructblip", "osler.models.generative:instructblip"),
    System("llava", "osler.models.generative:llava"),
    System("llava-med", "osler.models.llava_med:llava_med"),
    System("qwen2-5-vl", "osler.models.generative:qwen2_5_vl"),
    System("llama", "osler.models.generative:llama"),
    System("qwen2-5", "osler.models.generative:qwen2_5"),
    System("deepdr-llm", "osler.models.deepdr_llm:deepdr_llm"),
    # signals, tables, omics
    System("signal-resnet", "osler.models.signal_resnet:SignalResNet"),
    System("signal-transformer", "osler.models.signal_transformer:SignalTransformer"),
    System("tabular-perceptron", "osler.models.tabular_perceptron:TabularPerceptron"),
    System("tabular-transformer", "osler.models.tabular:TabularTransformer"),
    System("gene-set-encoder", "osler.models.gene_sets:GeneSetEncoder"),
)

FAMILIES: tuple[System, ...] = (System("timm", "osler.models.timm_net:TimmNet"),)
"""Networks by the names of another library, ``FAMILY/NAME``; they are not listed one by one."""


def find(name: str) -> System:
    """The network of that name.

    Raises:
        RecipeError: there is none; the message names the nearest.
    """
    for system in SYSTEMS:
        if system.name == name:
            return system
    family, _, member = name.partition("/")
    for system in FAMILIES:
        if system.name == family and member:
            return System(name, system.builder, (("architecture", member),))
    names = [system.name for system in SYSTEMS]
    asked = name.lower()
    # a part of a name ('sam', 'RETFound') is nearer than a name with the same letters
    parts = [one for one in names if asked and asked in one] or [
        one for one in names if asked.startswith(f"{one}-")
    ]
    near = list(dict.fromkeys([*parts, *get_close_matches(asked, names, n=3, cutoff=0.3)]))[:3]
    raise RecipeError(
        f"no network is called '{name}'; the nearest are "
        f"{', '.join(map(repr, near or names[:5]))}; 'osler models list' shows all"
    )


def matching(pattern: str = "*") -> list[System]:
    """The networks whose name, title, group or inputs match a pattern, in the list's order.

    Args:
        pattern: with ``*`` and ``?``; upper and lower case are the same. A word without them is
            found anywhere.
    """
    wanted = pattern.casefold()
    if not set("*?[") & set(wanted):
        wanted = f"*{wanted}*"
    return [
        system
        for system in SYSTEMS
        if any(fnmatchcase(text.casefold(), wanted) for text in _described(system))
    ]


def _described(system: System) -> list[str]:
    card = system.card
    return [card.name, card.title, card.group, card.summary, *card.answers]
