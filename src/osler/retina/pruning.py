"""Take the spurs off a traced skeleton.

A spur is a segment with one free end that is no longer than the vessel is wide where it leaves
it: the skeleton's answer to a bump of the border, not a vessel. Where two segments are left at a
node they become one. It works on chains, not on pixels, so that a skeleton is traced only once.
"""

from collections import defaultdict

import numpy as np

from osler.retina.skeleton import BoolArray, Chains, FloatArray, IntArray

_ROUNDS = 3  # a removed spur can leave a new one; more rounds would eat real vessel ends
_SHORTEST = 2.0  # pixels


def pruned(chains: Chains, radii: FloatArray) -> Chains:
    """The chains without spurs. Nodes keep their numbers; some are left without a chain.

    Args:
        chains: a traced skeleton.
        radii: ``(M,)`` radius of the largest circle inside the mask round each node, pixels.
    """
    for _ in range(_ROUNDS):
        spurs = _spurs(chains, radii)
        if not spurs.any():
            break
        chains = _joined(chains, ~spurs)
    return chains


def _spurs(chains: Chains, radii: FloatArray) -> BoolArray:
    """``(S,)`` which chains are spurs."""
    ends = chains.ends
    held = ends >= 0
    degree = np.bincount(ends[held], minlength=max(chains.nodes, 1))
    free = held & (degree[ends] == 1)
    out: BoolArray = free.sum(axis=1) == 1
    root = np.where(free[:, 0], ends[:, 1], ends[:, 0])[out]
    steps = (np.diff(chains.starts) - 1)[out]
    out[out] = steps <= np.maximum(2.0 * radii[root], _SHORTEST)
    return out


def _joined(chains: Chains, keep: BoolArray) -> Chains:
    """The kept chains, run together through nodes where only two of their ends are left."""
    at: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for chain in np.flatnonzero(keep).tolist():
        for side in (0, 1):
            at[int(chains.ends[chain, side])].append((chain, side))
    at.pop(-1, None)
    onwards = {}
    for pair in at.values():
        if len(pair) == 2:
            onwards[pair[0]], onwards[pair[1]] = pair[1], pair[0]
    used = ~keep
    paths: list[IntArray] = []
    ends: list[tuple[int, int]] = []
    for chain in np.flatnonzero(keep).tolist():
        if used[chain]:
            continue
        start = _upstream(chain, onwards)
        pieces: list[IntArray] = []
        here = start
        while True:
            used[here[0]] = True
            piece = chains.pixels[chains.starts[here[0]] : chains.starts[here[0] + 1]]
            piece = piece if here[1] == 0 else piece[::-1]
            pieces.append(piece[1:] if pieces and pieces[-1][-1] == piece[0] else piece)
            exit_ = (here[0], 1 - here[1])
            if exit_ not in onwards or onwards[exit_] == start:
                break
            here = onwards[exit_]
        whole = np.concatenate(pieces)
        if exit_ in onwards:
            closing = whole[:1] if whole[0] != whole[-1] else whole[:0]
            whole = np.concatenate([whole, closing])
            ends.append((-1, -1))
        else:
            ends.append((int(chains.ends[start]), int(chains.ends[exit_])))
        paths.append(whole)
    lengths = np.array([p.size for p in paths], dtype=np.int64)
    return Chains(
        pixels=np.concatenate([np.zeros(0, np.int64), *paths]),
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        ends=np.array(ends, dtype=np.int64).reshape(-1, 2),
        node_of=chains.node_of,
        node_pixels=chains.node_pixels,
        nodes=chains.nodes,
    )


def _upstream(chain: int, onwards: dict[tuple[int, int], tuple[int, int]]) -> tuple[int, int]:
    """The chain and the side at which the path through ``chain`` begins; itself on a ring."""
    here = (chain, 0)
    while here in onwards:
        before = onwards[here]
        here = (before[0], 1 - before[1])
        if here[0] == chain:
            return (chain, 0)
    return here
