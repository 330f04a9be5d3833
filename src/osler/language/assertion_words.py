# ruff: noqa: E501, SIM905 - lists of words
"""The words by which a report denies a finding, doubts it, or puts it in the past.

After NegEx [1] and ConText [2]: a trigger looks forward, backward or both ways; a pseudo-trigger
looks like one and is none; a terminator ends what a trigger reaches. The Chinese words are those
that Chinese reports use, sorted in the same way.

[1] Chapman WW, et al. A simple algorithm for identifying negated findings and diseases in
    discharge summaries. J Biomed Inform 2001;34(5):301-310.
[2] Harkema H, et al. ConText: an algorithm for determining negation, experiencer, and temporal
    status from clinical reports. J Biomed Inform 2009;42(5):839-851.
"""

from typing import Final, Literal, NamedTuple

Status = Literal["present", "absent", "possible", "history", "hypothetical", "family"]
Direction = Literal["forward", "backward", "both"]


class Trigger(NamedTuple):
    """What a phrase does.

    Attributes:
        status: what it makes of the findings it reaches; None for a pseudo-trigger.
        direction: where it looks.
        reach: most tokens between it and a finding.
        lists: whether it goes on over the marks of a list.
    """

    status: Status | None
    direction: Direction
    reach: int = 60
    lists: bool = True


_EN: Final[tuple[tuple[Trigger, tuple[str, ...]], ...]] = (
    (Trigger("absent", "forward"), (
        "no", "not a single", "not one", "no evidence of", "no sign of", "no signs of", "no definite", "no obvious",
        "without", "without evidence of", "absence of", "free of", "lack of", "negative for",
        "denies", "denied", "denying", "neither", "nor", "never had", "no longer", "ruled out for",
        "unlikely to represent", "clear of", "no history of", "no known", "not have", "not show",
        "not demonstrate", "not reveal", "fails to show", "excludes", "excluded for", "lacks",
        "lacking", "devoid of", "free from", "hardly any", "scarcely any", "failed to show",
    )),
    (Trigger("absent", "forward", reach=5, lists=False), ("not",)),
    (Trigger("absent", "backward", reach=12, lists=False), (
        "not seen", "not visible", "no longer visible", "no longer seen", "not visualized",
        "not identified", "not found", "not present", "not detected", "not evident",
        "not demonstrated", "not noted", "not observed", "is absent", "are absent", "absent",
        "ruled out", "can be ruled out", "can be excluded", "is excluded", "was excluded", "were excluded", "been excluded", "unlikely",
        "nowhere", "nowhere to be seen", "not be demonstrated", "not be seen", "not be found",
        "not be identified", "not be detected", "is lacking", "are lacking", "is wanting", "are wanting", "is missing", "are missing",
        "sought but not found", "sought and not found", "looked for but not found",
        "searched for but not found", "but none", "but none found", "in vain", "fruitless", "nil", ", none", ": none", ": no", "= none", "= no", "= nil", ": absent", ": negative", ": nil", "no longer present", "no longer",
    )),
    (Trigger("possible", "forward"), (
        "possible", "possibly", "probable", "probably", "likely", "may represent", "may be",
        "may reflect", "might be", "might represent", "could be", "could represent",
        "suggestive of", "suspicious for", "suspicion of", "suspected", "suspect", "questionable",
        "question of", "concerning for", "concern for", "can not exclude", "can not rule out",
        "not clear whether", "unclear whether", "unclear if", "uncertain whether", "equivocal",
        "presumed", "presumptive", "differential includes", "differential diagnosis includes",
        "worrisome for", "raises the possibility of", "not excluding",
    )),
    (Trigger("possible", "backward", reach=12, lists=False), (
        "suspect", "is possible", "is likely", "is suspected", "are suspected", "was suspected",
        "can not be excluded", "can not be ruled out", "not be excluded", "not be ruled out",
        "not excluded", "not ruled out", "is questionable", "is not certain", "possible",
        "is probable", "could not be excluded", "to be excluded", ": possible", ": suspected",
        "can not be entirely excluded", "can not be completely excluded",
    )),
    (Trigger("possible", "both", reach=8, lists=False), ("versus", "vs")),
    (Trigger("history", "forward"), (
        "history of", "h / o", "hx of", "previous", "prior", "old", "past medical history of",
        "past history of", "remote", "resolution of", "resolved", "healed", "sequelae of",
        "complete resolution of", "residual scarring from", "treated",
    )),
    (Trigger("history", "backward", reach=6, lists=False), (
        "has resolved", "have resolved", "resolved", "has cleared", "have cleared", "cleared",
        "has disappeared", "have disappeared", "in the past", "has been absorbed",
    )),
    (Trigger("family", "forward"), (
        "family history of", "mother", "father", "brother", "sister", "parent", "aunt", "uncle",
        "grandmother", "grandfather", "family history", "sibling", "maternal", "paternal",
    )),
    (Trigger("hypothetical", "forward"), (
        "rule out", "r / o", "evaluate for", "assess for", "assessment for", "screening for",
        "screen for", "to exclude", "if", "in case of", "symptom of", "risk of", "at risk for",
        "looking for", "to look for", "warning sign of", "check for", "monitor for",
        "investigation of", "query",
    )),
    (Trigger("hypothetical", "backward", reach=4, lists=False), ("screening", "risk")),
    (Trigger(None, "both"), (
        "no change in", "no interval change in", "no significant change in", "no progression of",
        "no increase in", "no significant increase in", "no decrease in", "no improvement in",
        "no worsening of", "not only", "not change", "not resolved", "has not resolved",
        "have not resolved", "not certain if", "gram negative", "no doubt", "not necessarily",
        ", none of", "no other", "no further", "without change", "without difficulty", "no interval increase in",
        "no interval decrease in", "not significantly changed", "likely benign", "no pathology",
        "previous examination", "prior examination", "previous study", "prior study",
        "previous radiograph", "prior radiograph", "previous ct", "prior ct", "old man", "old woman",
        "old male", "old female", "year old", "old patient", "old lady", "old gentleman",
        "old boy", "old girl", "ignore all previous", "previous finding", "previous image",
        "history of present illness", "no increase in size of", "as likely", "previously healthy",
        "prior photograph", "previous photograph", "compared with prior", "compared to prior",
    )),
)  # fmt: skip

_ZH: Final[tuple[tuple[Trigger, tuple[str, ...]], ...]] = (
    (Trigger("absent", "forward", lists=False), (
        "未见", "未见明显", "未见明确", "未见确切", "无", "无明显", "未发现", "未及", "未闻及",
        "没有", "不伴", "未探及", "未显示", "未触及", "可排除", "已排除", "可除外", "已除外", "排除", "未合并", "不合并",
        "未出现", "未查见", "未示", "未提示", "无明确", "无确切", "非", "不存在", "未伴", "未查及",
        "未检出", "未检测到", "未观察到", "未看到", "未曾", "从无", "毫无", "不见", "找不到", "绝无",
    )),
    (Trigger("absent", "forward", lists=True), ("否认", "否认有")),
    (Trigger("absent", "backward", reach=8, lists=False), (
        "已排除", "可排除", "可除外", "已除外", "阴性", "缺如", "未见", "未见显示", "不明显", "不存在",
        ": 无", ": 未见", ": 阴性", "：无", "：未见", "：阴性", "（-）", "(-)", "不支持", "可能性小",
        "可能性不大", "无", "：否", ": 否",
    )),
    (Trigger("possible", "forward", lists=False), (
        "可能", "可能为", "可能是", "疑似", "可疑", "疑", "疑为", "怀疑", "考虑", "考虑为", "不除外",
        "不排除", "不能除外", "不能排除", "未除外", "倾向于", "拟诊", "似", "似见", "或为", "首先考虑",
        "提示可能", "待排", "待除外", "不能完全排除", "？",
    )),
    (Trigger("possible", "backward", reach=8, lists=False), (
        "可能", "可能性大", "可疑", "待排", "待排除", "待除外", "待查", "待诊", "不除外", "不排除",
        "不能除外", "不能排除", "未除外", "未排除", "尚不能除外", "尚不能排除", "不能完全排除",
        "不能完全除外", "？", "?", "不确定", "可能大",
    )),
    (Trigger("history", "forward", lists=False), (
        "既往", "既往有", "曾有", "曾患", "曾", "陈旧性", "陈旧", "原有", "以往", "旧", "愈合",
    )),
    (Trigger("history", "backward", reach=6, lists=False), (
        "已吸收", "完全吸收", "已消失", "消失", "已愈合", "已消退", "术后改变", "已治愈", "基本吸收",
        "手术史",
    )),
    (Trigger("family", "forward", lists=False), (
        "母亲", "父亲", "家族史", "家族性", "家族中", "兄弟", "姐姐", "妹妹", "哥哥", "弟弟", "父母",
        "祖母", "祖父", "其母", "其父", "亲属", "家族",
    )),
    (Trigger("hypothetical", "forward"), (
        "如出现", "如有", "如果", "如", "若", "若有", "若出现", "一旦", "警惕", "注意排除", "预防",
        "除外", "排查", "筛查", "申请目的", "检查目的", "以排除", "为排除", "以除外", "防止", "避免",
        "明确有无", "了解有无", "有无", "是否有", "是否",
    )),
    (Trigger("hypothetical", "backward", reach=4, lists=False), ("筛查", "风险", "排查", "的可能风险")),
    (Trigger(None, "both"), (
        "无明显变化", "无变化", "未见明显变化", "无显著变化", "无明显好转", "无好转", "无加重",
        "未见明显吸收", "未吸收", "未见吸收", "无明显吸收", "未消失", "未愈合", "无进展", "未见进展",
        "未见明显进展", "不仅", "无改变", "未见改变", "无明显改变", "无增大", "未见增大", "无增多",
        "无缩小", "无法", "无诱因", "无明显诱因", "如下", "如图", "非增殖", "非增生", "例如",
        "较前", "考虑到", "旧片", "似前", "基本同前", "未见好转", "未见缩小", "未见明显缩小",
        "未见明显增大", "未见明显增多",
    )),
)  # fmt: skip

TRIGGERS: Final = tuple(
    (phrase, trigger) for table in (_EN, _ZH) for trigger, phrases in table for phrase in phrases
)

TERMINATORS: Final = (
    "but", "however", "though", "although", "except", "apart from", "aside from", "yet", "whereas",
    "while", "nevertheless", "other than", "which", "who", "secondary to", "because", "since",
    "但", "但是", "然而", "而", "另", "另见", "余", "可见", "仍可见", "仍见", "仍有", "有", "示", "并见",
    "伴有", "合并", "提示",
)  # fmt: skip
"""What ends the reach of a trigger, besides the end of a sentence."""

VERBS: Final = frozenset(
    "is are was were has have had shows show showed seen present noted remains remain persists "
    "persist demonstrates demonstrated reveals revealed there appears appear developed develops "
    "show shown reported underwent remained persisted progressed increased decreased".split()
)
"""A part of a sentence with one of these is a statement of its own, and no item of a list."""

OPENINGS: Final = frozenset(
    "small mild moderate severe large tiny minimal new unchanged stable few several multiple "
    "bilateral patchy diffuse persistent residual interval extensive some subtle marked likely "
    "possible focal with left right dense faint increased worsening improved known".split()
)
"""Words that open a statement rather than go on with a list of what is not there."""
