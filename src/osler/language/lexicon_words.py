"""What nothing here sees, in words for a reader."""

from collections.abc import Mapping
from typing import Final

OUTSIDE_ZH: Final[Mapping[str, str]] = {
    "glaucoma": "青光眼",
    "macular degeneration": "黄斑变性",
    "drusen": "玻璃疣",
    "cataract": "白内障",
    "eye pressure": "眼压",
    "vision": "视力",
    "what will come": "将来会发生什么",
    "treatment": "治疗",
    "the person": "患者本人",
    "blood tests": "化验",
    "swelling or colour of the disc": "视盘或视网膜的水肿和颜色",
    "new vessels": "新生血管",
    "beading or abnormal small vessels": "静脉串珠或微血管异常",
    "detachment": "脱离",
    "the vitreous": "玻璃体",
    "an occlusion": "阻塞",
    "a hole or membrane": "裂孔或前膜",
    "thickness": "厚度",
    "the other eye": "另一只眼",
    "when and how it was taken": "何时以及如何拍摄",
    "other organs": "其他器官",
}

NOT_SEEN: Final = (
    "other diseases of the eye (such as glaucoma, macular degeneration, occlusions, detachment), "
    "new vessels, beading, the other eye, vision, pressure, other organs, causes, treatment or "
    "what will come",
    "其他眼病（如青光眼、黄斑变性、血管阻塞、视网膜脱离）、新生血管、静脉串珠、另一只眼、视力、眼压、"
    "其他器官、病因、治疗以及将来会怎样",
)
