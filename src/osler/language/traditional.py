"""Traditional Chinese characters of eye reports as the simplified ones that the rules read."""

from typing import Final

_PAIRS: Final = """
黃黄腫肿風风險险無无沒没見见視视網网變变輕轻動动脈脉靜静滲渗點点處处個个級级轉转診诊質质優优圖图徑径盤盘
離离軟软發发現现為为與与積积後后長长質质檢检測测數数說说從从對对圍围層层雙双側侧萬万內内較较顯显確确斷断議议
應应該该須须還还兩两幾几當当體体這这裡里們们時时間间來来進进過过遠远運运開开關关則则總总結结經经統统續续維维綿绵
縮缩橫横縱纵觸触誌志認认識识議议護护讀读調调談谈請请諮咨貧贫責责費费賴赖軸轴鄰邻醫医鏡镜銳锐錄录針针鏈链隨随
隱隐難难電电靈灵韌韧項项順顺須须預预頭头題题額额類类顆颗顏颜餘余驗验體体單单嚴严壓压屬属廣广張张彎弯徵征懷怀
態态慮虑懸悬擴扩據据擬拟擇择損损換换揮挥搖摇斷断於于晝昼暈晕樣样標标橢椭極极構构機机權权歸归殘残毀毁決决減减溫温
溼湿準准滿满濁浊濃浓燈灯異异療疗癥症睜睁瞭了矯矫種种稱称範范糾纠約约純纯細细紅红級级終终組组絡络給给
絲丝緊紧線线編编緣缘縫缝繼继續续聯联職职脫脱腦脑膠胶臟脏蓋盖補补裝装複复覺觉觀观訊讯記记評评試试話话詳详誤误
"""


def _table() -> dict[int, str]:
    signs = "".join(_PAIRS.split())
    return {ord(signs[n]): signs[n + 1] for n in range(0, len(signs), 2)}


TABLE: Final = _table()


def simplified(text: str) -> str:
    """The text with simplified characters for traditional ones, sign by sign: as long as before.

    Only characters that eye reports use are known; others stay.
    """
    return text.translate(TABLE)
