# ruff: noqa: E501 - a note reads best on one line
"""Notes written after the rules, in other words; ``{KIND:…}`` marks what must go."""

import re

EN = [
    "{NAME:Tunde} is a 44M w/ cough x2wks. PCP {NAME:Dr. Halloran} at {PLACE:Riverbend Family Practice}. Quit smoking in 2011.",
    "Comparison: {DATE:03/14/19} and {DATE:7.8.2018}. No interval change in the 6 mm LLL nodule.",
    "D/w {NAME:Marguerite Okonjo} NP at {TIME:0945 hrs} by phone ({PHONE:617.555.0199}).",
    "Pt {NAME:Kowalski} (acct {ID:A00482913}) transferred from {PLACE:Mercy Regional} {DATE:last June 3rd}.",
    "Reported: {NAME:J. R. Featherstonehaugh} / Verified: {NAME:P. Nandakumar}",
    "This is Mr. {NAME:de la Cruz}, a retired teacher from {PLACE:Albuquerque}, NM {PLACE:87102}.",
    "FINDINGS: Endotracheal tube 4 cm above the carina. Right IJ line tip in SVC. Heart normal. IMPRESSION: 1. Lines as above.",
    "{NAME:SANTOS, MARIA L} F 61Y Exam: {DATE:12-Nov-2021} Ref: {NAME:HOLLIS K} Acc# {ID:7731920}",
    "Emergency contact: {NAME:Bob Tremblay}, cell {PHONE:514 555 0147}, {EMAIL:bob_t@mail.example.ca}",
    "Biopsy on {DATE:Tuesday 9 March} showed ductal carcinoma in situ, ER 95%, PR 80%, HER2 1+.",
    "{NAME:Ms Achterberg} denies chest pain. Takes metformin 500 mg BID and lisinopril 10 mg daily.",
    "Images pushed to {PLACE:Cedar Valley Imaging} PACS, study {ID:1.2.840.113619.2.55.3.604688}.",
    "Her cardiologist, {NAME:Venkataraman}, advised follow-up in 6 months. EF 55-60%.",
    "Signed {NAME:A Whitlock} {DATE:2022/8/5} {TIME:8:05 PM}",
]
ZH = [
    "{NAME:钱学敏}老人，现年78岁，家住{PLACE:苏州市姑苏区平江路12号}，近2周反复头晕。",
    "检查医生 {NAME:蒋文}/ 复核 {NAME:沈曼丽} {DATE:2021.3.9}",
    "与{DATE:21-03-09}旧片比较，左肺下叶磨玻璃影范围缩小，余况同前。",
    "病人家属来电{PHONE:0571-87236114}，要求{NAME:许}主任复阅。",
    "{DATE:去年3月5日}于{PLACE:华山医院}行腹腔镜手术，术后恢复良好。",
    "病案首页:{NAME:尉迟恭}|男|{ID:0009182736}|呼吸内科|{PLACE:12床}",
    "右侧额叶见片状长T1长T2信号影，大小约2.3cm×1.8cm，增强后明显强化。",
    "外院CT(编号{ID:CT20210088})提示胰头占位，建议{NAME:罗建华}教授门诊随访。",
    "宝宝{NAME:乐乐}，母亲{NAME:韩雪}，出生于{DATE:2020年5月}，体重3.2kg。",
    "主诉：活动后气促1月。现病史：患者1月前无明显诱因出现气促，休息后缓解。",
]


def labelled(note: str) -> tuple[str, list[tuple[int, int, str]]]:
    """The text, and start, end and kind of each marked passage."""
    text, marks = "", []
    for piece in re.split(r"(\{[A-Z]+:[^}]*\})", note):
        if piece.startswith("{"):
            kind, value = piece[1:-1].split(":", 1)
            marks.append((len(text), len(text) + len(value), kind))
            text += value
        else:
            text += piece
    return text, marks
