# ruff: noqa: E501 - a note reads best on one line
"""Notes with people in them, made by rule, and where the people stand.

A template has ``{kind:value}`` for what must go. Names are partly from outside any list of names.
"""

import random
import re
from collections.abc import Iterator

GIVEN = [
    "John",
    "Sarah",
    "Priya",
    "Wolfgang",
    "Oluwaseun",
    "Maeve",
    "Xiomara",
    "Tadeusz",
    "Ngozi",
    "Björn",
    "Aoife",
    "Emily",
]
FAMILY = [
    "Smith",
    "O'Leary",
    "Kowalczyk",
    "Adeyemi",
    "Thistlewood",
    "Nakagawa",
    "Brandt",
    "Ferreira",
    "Quillfeather",
    "Patel",
]
ZH_FAMILY = [*"王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗", "欧阳", "司马"]
ZH_GIVEN = [
    "伟",
    "芳",
    "秀英",
    "娜",
    "敏",
    "静",
    "丽",
    "强",
    "磊",
    "军",
    "小明",
    "建国",
    "志强",
    "玉兰",
    "子轩",
    "雨桐",
    "晓东",
    "海燕",
    "国庆",
    "梦洁",
]

EN = [
    "Patient name: {NAME:@G @F}. MRN: {ID:@8}. DOB: {DATE:@d/@m/@y}.\nChest radiograph shows a 12 mm nodule in the right upper lobe. Compared with {DATE:@M @d, @y}.",
    "{AGEok}-year-old man referred by Dr. {NAME:@F} from {PLACE:St. @F Hospital}. BP 120/80, SpO2 98 %. No pleural effusion.",
    "Findings were discussed with Dr {NAME:@G @F} at {TIME:14:32} on {DATE:@y-@m-@d}. Impression: pneumonia.",
    "Electronically signed by {NAME:@G @F}, MD {DATE:@d @M @y}. Accession {ID:ACC@8}.",
    "Mrs. {NAME:@F} lives at {PLACE:@2 @F Street} and can be reached on {PHONE:(555) 201-@4} or {EMAIL:@l@example.org}.",
    "{NAME:@F^@G} CT abdomen with contrast. Liver, spleen and kidneys are normal. L4/L5 disc bulge 3.5 mm.",
    "Her husband {NAME:@G @F} called from {PHONE:+44 20 7946 0@3}. She was admitted to {PLACE:@F General Hospital} on {DATE:@d/@m/@y}.",
    "The patient is a {AGE:93} year old woman. SSN {ID:123-45-@4}. NHS {ID:943 476 @4}. Old fracture of T12.",
    "Reviewed by: {NAME:@F, @G}. Graves disease and Hodgkin lymphoma in the history. No Foley catheter. Swan-Ganz catheter in place.",
    "See http: report at {URL:https://pacs.example.org/view?id=@6}. Ward {PLACE:@2B}. Heart size is at the upper limit of normal.",
    "Dictated by {NAME:@G @F} and transcribed {DATE:@m/@d/@y}. Temperature 38.2, WBC 11.4, CRP 120 mg/L, D-dimer 1.2.",
    "Travelled from {PLACE:Wuhan} on {DATE:@M @d}. RT-PCR positive. Ground-glass opacities in both lower lobes, 65% involved.",
    "{NAME:@G} was seen with her mother {NAME:@G @F}. Visual acuity 20/40 OD, 6/9 OS. IOP 14 mmHg.",
]
ZH = [
    "姓名：{NAME:@Z} 性别：男 年龄：56岁 住院号：{ID:@8} 检查日期：{DATE:@y年@m月@d日}\n影像所见：双肺纹理增多，右肺上叶见直径约12mm结节。",
    "患者{NAME:@Z}，女，{AGEok}岁，因咳嗽3天于{DATE:@y-@m-@d}就诊于{PLACE:@C人民医院}。血压120/80mmHg，体温38.5℃。",
    "报告医师：{NAME:@Z}  审核医师：{NAME:@Z}  报告时间：{DATE:@y/@m/@d} {TIME:10:25}",
    "身份证号：{ID:@I}，联系电话：{PHONE:1380013@4}，家庭住址：{PLACE:@C市朝阳区建国路@2号}。",
    "经{NAME:@Z}主任医师会诊，建议行增强CT检查。心影增大，主动脉钙化。左侧胸腔少量积液。",
    "门诊号{ID:MZ@8}，由{NAME:@Z}医生转诊自{PLACE:@C市第一人民医院}。高血压病史10年，糖尿病史5年。",
    "家属{NAME:@Z}（电话{PHONE:010-6275@4}）陪同。既往{DATE:@y年@m月}行胆囊切除术。",
    "{NAME:@Z}，男，45岁。眼底检查：视盘边界清，黄斑中心凹反光可见，杯盘比0.3。",
    "诊断：肺炎。请与{DATE:@m月@d日}片对比。记录者：{NAME:@Z}",
    "送检医院：{PLACE:@C大学附属第二医院}，病理号：{ID:B@6}，标本大小3×2×1cm，免疫组化Ki-67约20%。",
    "患者 {NAME:@Z} 今晨突发胸痛，ECG示ST段抬高。肌钙蛋白1.25ng/ml。",
    "邮箱{EMAIL:@l@example.cn}，微信号{ID:wx@6}。双眼视力1.0，眼压15mmHg。",
]
CITIES = ["北京", "上海", "广州", "成都", "武汉", "杭州", "西安", "长沙"]
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]


def card(rng: random.Random) -> str:
    """A resident identity number with its check digit."""
    digits = f"110105{rng.randint(1940, 2005)}{rng.randint(1, 12):02d}{rng.randint(1, 28):02d}{rng.randint(0, 999):03d}"
    total = sum(int(c) * 2 ** (17 - i) for i, c in enumerate(digits))
    return digits + "10X98765432"[total % 11]


def filled(value: str, rng: random.Random, *, chinese: bool) -> str:
    def one(match: re.Match[str]) -> str:
        sign = match[1]
        if sign.isdigit():
            return "".join(rng.choices("123456789", k=int(sign)))
        return {
            "G": rng.choice(GIVEN),
            "F": rng.choice(FAMILY),
            "Z": rng.choice(ZH_FAMILY) + rng.choice(ZH_GIVEN),
            "C": rng.choice(CITIES),
            "I": card(rng),
            "M": rng.choice(MONTHS),
            "y": str(rng.randint(1950, 2024)),
            "m": str(rng.randint(1, 12))
            if chinese and "月" in value
            else f"{rng.randint(1, 12):02d}",
            "d": f"{rng.randint(1, 28)}",
            "l": rng.choice(["jsmith", "maeve.brandt", "wang88"]),
        }[sign]

    return re.sub(r"@([A-Za-z0-9])(?!xample)", one, value)


def notes(
    count: int, *, chinese: bool, seed: int = 0
) -> Iterator[tuple[str, list[tuple[int, int, str]]]]:
    """Texts, each with start, end and kind of what must go."""
    rng = random.Random(seed)
    templates = ZH if chinese else EN
    for i in range(count):
        text, marks = "", []
        for piece in re.split(r"(\{[A-Z]+:[^}]*\}|\{AGEok\})", templates[i % len(templates)]):
            if piece == "{AGEok}":
                text += str(rng.randint(20, 88))
            elif piece.startswith("{"):
                kind, value = piece[1:-1].split(":", 1)
                value = filled(value, rng, chinese=chinese)
                marks.append((len(text), len(text) + len(value), kind))
                text += value
            else:
                text += piece
        yield text, marks
