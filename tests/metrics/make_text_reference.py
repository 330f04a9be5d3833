"""Write text_reference.json beside this file: figures of texts by the packages that papers use.

    pip install rouge-score==0.1.2 sacrebleu==2.6.0 pycocoevalcap==1.2
    python tests/metrics/make_text_reference.py

Every text is given to them as the tokens of `osler.metrics.tokens`, joined by spaces.
"""

import json
from pathlib import Path

from osler.metrics import tokens

CASES = [
    (["The photograph is of good quality.", "Good quality."], "The photograph is of good quality."),
    (
        ["The vertical cup-to-disc ratio is 0.42 and 3 haemorrhages were found."],
        "3 haemorrhages were found and the cup-to-disc ratio is 0.47.",
    ),
    (["No microaneurysms were found.", "There is no lesion."], "Microaneurysms were found."),
    (["right lung", "the right lung"], "left lung"),
    (["Moderate nonproliferative retinopathy of the right eye."], "moderate retinopathy"),
    (["未见出血，杯盘比0.42。"], "可见出血，杯盘比0.42。"),
    (["the the the cat", "a cat is on the mat"], "the the the the cat on the mat"),
]


def main() -> None:
    import sacrebleu
    from pycocoevalcap.cider.cider import Cider
    from rouge_score.rouge_scorer import RougeScorer

    references = [[" ".join(tokens(text)) for text in texts] for texts, _ in CASES]
    candidates = [" ".join(tokens(text)) for _, text in CASES]

    class Spaces:
        def tokenize(self, text: str) -> list[str]:
            return text.split()

    rouge = RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=Spaces())
    numbers = range(len(CASES))
    _, cider = Cider().compute_score(
        {n: references[n] for n in numbers}, {n: [candidates[n]] for n in numbers}
    )
    most = max(map(len, references))
    streams = [[one[k] if k < len(one) else None for one in references] for k in range(most)]
    out = {"cases": CASES, "cider_d": [float(one) for one in cider]}
    for name in ("rouge1", "rouge2", "rougeL"):
        out[name] = [
            max(rouge.score(text, said)[name].fmeasure for text in texts)
            for texts, said in zip(references, candidates, strict=True)
        ]
    out["bleu"] = [
        sacrebleu.BLEU(tokenize="none", smooth_method="none", max_ngram_order=n)
        .corpus_score(candidates, streams)
        .score
        / 100
        for n in range(1, 5)
    ]
    place = Path(__file__).with_name("text_reference.json")
    place.write_text(json.dumps(out, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
