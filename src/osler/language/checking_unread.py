# ruff: noqa: E501 - lists of words
"""Words of a sentence that the check has not read: they may say anything, so they are told."""

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Final

from osler.language.assertion_words import TERMINATORS, TRIGGERS
from osler.language.checking_sayings import spans_in
from osler.language.checking_spelt import in_chinese, in_english, ordinals
from osler.language.checking_words import (
    COMMON_UNITS,
    COMPARED,
    concepts_in,
    lesion_in,
    topics,
)
from osler.language.facts import Fact
from osler.language.terms import Phrases, Token, tokens

MOST_UNREAD: Final = 8
"""Most words of a sentence that are told."""

_ENGLISH: Final = """
a an the of in on at to from for with by and or but also both either this that these those there here it
its their they them is are was were be been being has have had having do does did not no can could may
as than within between across over about around approximately nearly almost up out only each every all any
some other one ones which where when while so then thus per if yes via into onto through along
find found see seen show shown showing detect detected identify identified note noted observe observed
present visible count counted measure measured measuring compute computed calculate calculated determine
estimate estimated obtain obtained assess assessed judge judged grade graded level locate located lie lay
situate situated spread distribute distributed scatter scattered involve involving reach reached come came
amount total number numbering average mean median respectively together apart enclose enclosed cover
covering covered extend extending run span occupy occupied affect affected contain containing hold say said
state stated read give given according suggest predict predicted classify classified call called consider
exclude excluded remain remained possible compared equal correspond corresponding indicate indicated
photograph photo image picture eye eyes fundus retina retinal macula macular patient examination exam
algorithm model software program network analysis measurement value result finding report sentence record
probability confidence likelihood sign evidence region area zone part centre center side spot site place
location nearest closest overall whole diabetic main type kind case non human person file section
lies close look agree length n number half circle cross few too cut edge learn learnt output check quality findings impression conclusion summary conclude severity should need needed required seen
ophthalmologist specialist physician doctor
dear colleague i we my our your basis known chance put
"""
_CHINESE: Final = """
可见 所见 见 可 发现 检出 检测 检查 检测到 观察到 显示 提示 共 共有 约 大约 有 无 为 是 的 在 于 和 及 与 或 以及 等 处 个 枚 块
条 分布 分布于 分布在 位于 累及 涉及 距 距离 最近 最近处 最近的 到 至 从 其 其中 该 此 本 这 这是 这张 一 张 幅 眼 眼底 视网膜 黄斑
患者 病人 照片 图像 图片 影像 算法 模型 软件 程序 测量 测得 计算 估计 结果 数值 值 报告 所见 结论 印象 质量 诊断 概率 可能性 置信度 水平 上
下 内 外 分级 分期 级 期 度 程度 总 总共 合计 平均 中位 左右 分别 分别为 均 都 也 亦 并 且 而 但 仅 只 相距 夹角 测 测得 为 存在 出现 呈 属 属于 需 应
建议 应当 需要 由 给 医生 眼科 专科 眼科医生 不能 不可 能 无法 被 将 排除 已 未 不 没有 面积 个数 数量 数目 部位 区 区域 范围 处于 文件 注明 未注明 良好 好 较 很 示
各 每 全部 所有 另 其余 其他 余 一共 之 者 左侧 右侧 毫 以 因 长 表 输出 学习 得 请 目视 核对 所 致 一致 对照 查看 边缘 截去 过多 穿过 过少 圆 找 类 型 种 点 灶 心 方向 一张
征象 任何 照 幅图
"""
_BOUND: Final = re.compile(
    r"(不足|少于|多于|超过|高于|低于|大于|小于|至少|至多|不超过|不多于|不少于|不低于|upwards of)"
    r"\s*[\d零一二两三四五六七八九十百千a-z]",
    re.IGNORECASE,
)
_EXTENT: Final = re.compile(
    r"throughout(?= (?:the )?(?:whole |entire )?(?:retina|fundus))|all over(?= the)"
    r"|遍布(?=(?:整个)?(?:眼底|视网膜))",
    re.IGNORECASE,
)
_GRADED: Final = re.compile(r"(?<=[期性型])病变")
_LETTER_NUMBER: Final = re.compile(r"[A-Za-z]\d+(?![A-Za-z])")


@cache
def _neutral() -> frozenset[str]:
    return frozenset(one.word for said in _ENGLISH.split() for one in tokens(said))


@cache
def _read() -> "Phrases[str]":
    """Every phrase that the check reads: none of them is a word of its own elsewhere."""
    return Phrases(
        (phrase, "read")
        for phrase in (
            *(phrase for phrase, _ in TRIGGERS),
            *TERMINATORS,
            *_CHINESE.split(),
            *COMMON_UNITS,
            *("more than", "fewer than", "less than", "at least", "at most"),
        )
    )


@lru_cache(maxsize=64)
def _own(facts: tuple[Fact, ...]) -> frozenset[str]:
    """The words of the findings' own names, values and meanings."""
    said = (
        one
        for fact in facts
        for one in (
            fact.name,
            fact.words,
            fact.meaning,
            str(fact.value),
            *(m for _, m in fact.choices),
        )
    )
    return frozenset(token.word for words in said for token in tokens(words))


def unread(text: str, facts: Iterable[Fact]) -> tuple[str, ...]:
    """The words that no rule reads and that are not known to say nothing.

    Args:
        text: of a sentence, without its citations.
        facts: the findings that it stands on; their own words are known.
    """
    said = tokens(text)
    own = _own(tuple(facts))
    places = [
        (said[f.first].start, said[f.last - 1].stop)
        for found in (topics().find(said), concepts_in(said), _read().find(said))
        for f in found
    ]
    places += [(a, b) for find in (in_english, in_chinese, ordinals) for *_, a, b in find(text)]
    places += spans_in(text)
    places += [m.span(1) for m in _BOUND.finditer(text)]
    places += [m.span() for m in (*_EXTENT.finditer(text), *_GRADED.finditer(text))]
    places += [
        m.span(g)
        for m in COMPARED.finditer(text)
        for g in ("more_out", "more_zh", "less_zh")
        if m[g] and all(map(lesion_in, m[0].split(m[g])))  # others are not compared
    ]
    covered = bytearray(len(text))
    for start, stop in places:
        covered[start:stop] = b"\1" * (stop - start)
    left = [
        t
        for t in said
        # the number in "DR2" is read by nobody
        if (not covered[t.start] and _says(t, own))
        or _LETTER_NUMBER.match(text, max(t.start - 1, 0))
    ]
    return _joined(left, text)


def _says(token: Token, own: frozenset[str]) -> bool:
    word = token.word
    if word in own or word in _neutral():
        return False
    if word[:1].isdigit():
        return any(not (c.isdigit() or c in ".,") for c in word)
    return word.isalpha() or any(mark in "<>{}@|" for mark in word)


def _joined(left: list[Token], text: str) -> tuple[str, ...]:
    """What stands side by side as one: a Chinese word is several characters."""
    out: list[tuple[int, int]] = []
    for token in left:
        if out and out[-1][1] == token.start:
            out[-1] = (out[-1][0], token.stop)
        else:
            out.append((token.start, token.stop))
    return tuple(dict.fromkeys(text[a:b][:40] for a, b in out))[:MOST_UNREAD]
