"""nnU-Net beside a recipe: the same cases, the same processor time, the same figures.

    python -m venv nnunet && nnunet/bin/pip install torch nnunetv2==2.8.1
    python benchmarks/nnunet.py recipes/hippocampus.yaml RUN --python nnunet/bin/python --out FOLDER

RUN is the folder that ``osler fit`` left: its ``run.json`` says for how long it trained and its
``cases.json`` holds its figures. The recipe's cases that teach and tune go to nnU-Net (which does
not choose weights by validation, so those that tune only give it an unused fold to validate on);
those that test are hidden from it. nnU-Net plans, preprocesses and augments by itself
(``3d_fullres``), on one thread of the processor, and trains until the *processor time* of its
training has reached the run's minutes (``--minutes`` sets another number). Its learning rate falls
by its own law, ``(1 - t)^0.9``, with ``t`` the share of that time instead of the share of 1,000
epochs. ``--batch`` overrules the batch of its plan. What it predicts is scored by Osler's figures
in the native grid, and the differences are paired by subject.

nnU-Net lives in an environment of its own and is no part of Osler.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

NUMBER, NAME = 501, "Dataset501_Recipe"
REPLICATES = 2000


def prepare(recipe: Path, run: Path, out: Path) -> tuple[Any, list[Any], Any]:
    """Write nnU-Net's folders; gives the task, the rows that test and their cohort."""
    import nibabel
    import numpy as np

    from osler.data.opening import open_row
    from osler.learn.recipe import check_recipe, read_yaml
    from osler.learn.teaching import cohort_of, divide
    from osler.tasks.image_input import image_of

    read, task = check_recipe(read_yaml(recipe), recipe)
    cohort = cohort_of(read, recipe, folder=out)
    teach, tune, test = divide(cohort, read)
    judged = json.loads((run / "cases.json").read_text())
    if sorted(judged) != sorted(row.case_id for row in test):
        raise SystemExit("the run's cases.json does not hold the cases that the recipe tests")
    place = out / "raw" / NAME
    for folder in ("imagesTr", "labelsTr", "imagesTs"):
        (place / folder).mkdir(parents=True, exist_ok=True)
    said = task.settings
    for row in [*teach, *tune, *test]:
        taught = row not in test
        case = open_row(row, cohort)
        image = image_of(case, said.image.items[0])
        affine = np.diag([-1.0, -1, 1, 1]) @ np.asarray(image.affine)  # nibabel is RAS
        where = "imagesTr" if taught else "imagesTs"
        picture = nibabel.Nifti1Image(np.asarray(image.array[0], np.float32), affine)
        nibabel.save(picture, place / where / f"{row.case_id}_0000.nii.gz")
        if taught:
            labels = np.zeros(image.shape, np.uint8)
            for number, label in enumerate(said.labels, 1):
                for mask in case.findings.values():
                    if mask.name == label:
                        labels[mask.mask] = number
            picture = nibabel.Nifti1Image(labels, affine)
            nibabel.save(picture, place / "labelsTr" / f"{row.case_id}.nii.gz")
    (place / "dataset.json").write_text(json.dumps({
        "channel_names": {"0": image.modality}, "file_ending": ".nii.gz",
        "labels": {"background": 0, **{one: n for n, one in enumerate(said.labels, 1)}},
        "numTraining": len(teach) + len(tune),
    }))  # fmt: skip
    folds = [{"train": [r.case_id for r in teach], "val": [r.case_id for r in tune]}]
    ready = out / "preprocessed" / NAME
    ready.mkdir(parents=True, exist_ok=True)
    (ready / "splits_final.json").write_text(json.dumps(folds))
    return task, test, cohort


def other(python: Path, out: Path, *arguments: str) -> None:
    """Run this file or a module in nnU-Net's environment, on one thread."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "nnUNet_def_n_proc")
    one = dict.fromkeys(names, "1")
    folders = {f"nnUNet_{key}": str(out / key) for key in ("raw", "preprocessed", "results")}
    environment = {
        **os.environ, **one, **folders, "nnUNet_n_proc_DA": "1", "nnUNet_compile": "f",
        "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    subprocess.run([str(python), *arguments], env=environment, check=True)


def train(out: Path, minutes: float, batch: int | None) -> None:
    """In nnU-Net's environment: train for so long and predict what tests."""
    # it augments in this process, so that its time is counted
    os.environ["nnUNet_n_proc_DA"] = "0"  # noqa: SIM112
    import numpy as np
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    torch.set_num_threads(1)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002, its patches are drawn so
    ready = out / "preprocessed" / NAME
    plans = json.loads((ready / "nnUNetPlans.json").read_text())
    plans["continue_training"] = False  # as its own entry point sets it
    if batch is not None:
        plans["configurations"]["3d_fullres"]["batch_size"] = batch
    trainer = nnUNetTrainer(
        plans, "3d_fullres", 0, json.loads((ready / "dataset.json").read_text()),
        device=torch.device("cpu"),
    )  # fmt: skip
    trainer.plot_network_architecture = lambda: None
    trainer.on_train_start()
    trainer.network.train()
    budget, begun, wall, steps = 60 * minutes, time.process_time(), time.monotonic(), 0
    while (used := time.process_time() - begun) < budget:
        for group in trainer.optimizer.param_groups:
            group["lr"] = trainer.initial_lr * (1 - used / budget) ** 0.9
        loss = trainer.train_step(next(trainer.dataloader_train))["loss"]
        steps += 1
        if steps % 5 == 0:
            print(f"{used:.0f} of {budget:.0f} s, step {steps}, loss {float(loss):.3f}", flush=True)
    trainer.save_checkpoint(str(Path(trainer.output_folder) / "checkpoint_final.pth"))
    spent = {
        "steps": steps, "batch": trainer.batch_size, "processor_minutes": used / 60,
        "wall_minutes": (time.monotonic() - wall) / 60,
        "patch": plans["configurations"]["3d_fullres"]["patch_size"],
        "parameters": sum(one.numel() for one in trainer.network.parameters()),
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }  # fmt: skip
    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(
        trainer.output_folder_base, (0,), "checkpoint_final.pth"
    )
    (out / "said").mkdir(exist_ok=True)
    predictor.predict_from_files_sequential(
        str(out / "raw" / NAME / "imagesTs"), str(out / "said"), False, True
    )
    (out / "spent.json").write_text(json.dumps(spent, indent=1))


def score(task: Any, rows: list[Any], cohort: Any, run: Path, out: Path) -> dict[str, Any]:
    """Figures of both on the same subjects, and the paired differences (nnU-Net minus ours)."""
    import nibabel
    import numpy as np

    from osler import metrics
    from osler.data.opening import open_row
    from osler.metrics.surfaces import structure_scores

    ours = json.loads((run / "cases.json").read_text())
    said = task.settings
    theirs: dict[str, dict[str, float | None]] = {}
    for row in rows:
        case = open_row(row, cohort)
        image = next(iter(case.items.values()))
        labels = np.asarray(nibabel.load(out / "said" / f"{row.case_id}.nii.gz").dataobj)
        theirs[row.case_id] = {}
        for number, label in enumerate(said.labels, 1):
            truth = next(one for one in case.findings.values() if one.name == label)
            found = structure_scores(
                np.asarray(truth.mask), labels == number, spacing=image.spacing,
                tolerance=said.tolerance,
            )  # fmt: skip
            for key in ("dice", "nsd", "hd95"):
                theirs[row.case_id][f"{key}/{label}"] = getattr(found, key)
    table: dict[str, Any] = {}
    names = [row.case_id for row in rows]
    groups = [row.patient_id for row in rows]
    for key in ("dice", "nsd", "hd95"):
        for label in [None, *said.labels]:
            asked = said.labels if label is None else [label]
            first, second = (
                np.array([np.mean([who[n][f"{key}/{one}"] for one in asked]) for n in names])
                for who in (theirs, ours)
            )
            table[f"{key}, {label or 'mean of labels'}"] = {
                who: [found.value, found.low, found.high]
                for who, found in (
                    (what, metrics.summarise(
                        values, seed=1, groups=groups, replicates=REPLICATES
                    ).mean)
                    for what, values in (
                        ("nnunet", first), ("osler", second), ("difference", first - second)
                    )
                )
            }  # fmt: skip
    spent = json.loads((out / "spent.json").read_text())
    return {"spent": spent, "figures": table, "cases": theirs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("recipe", type=Path, nargs="?")
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--python", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    out = given.out.resolve()
    if given.train:  # in nnU-Net's environment
        train(out, given.minutes, given.batch)
        return
    if given.recipe is None or given.run is None or given.python is None:
        parser.error("name the recipe, its run and --python")
    task, rows, cohort = prepare(given.recipe, given.run, out)
    other(given.python, out, "-c",
          "from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import "
          "plan_and_preprocess_entry as go; import sys; "
          f"sys.argv = ['plan', '-d', '{NUMBER}', '-c', '3d_fullres', '-np', '1', '-npfp', '1']; "
          "go()")  # fmt: skip
    trained = json.loads((given.run / "run.json").read_text())["training"]
    minutes = given.minutes or trained["minutes"]
    batch = [] if given.batch is None else ["--batch", str(given.batch)]
    other(given.python, out, str(Path(__file__).resolve()), "--train", "--out", str(out),
          "--minutes", str(minutes), *batch)  # fmt: skip
    result = score(task, rows, cohort, given.run, out)
    (out / "result.json").write_text(json.dumps(result, indent=1))
    print(json.dumps({k: result[k] for k in ("spent", "figures")}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
