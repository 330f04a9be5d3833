"""The words of questions about a case, English and Chinese, and what each of them stands for.

A tag is ``KIND:VALUE``. Kinds: ``topic`` what is asked about, ``ask`` what about it, ``only`` what
narrows it, ``outside`` what nothing here can see, ``filler`` what changes nothing. A word that
stands nowhere here is not understood, and a question with such a word is not answered.
"""

from collections.abc import Mapping
from typing import Final

# Tag: English phrases, Chinese phrases, parted by bars. Spelling is evened out by `questions`.
WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "topic:dr-grade": (
        "diabetic retinopathy|retinopathy|dr|npdr|icdr|dr grade|retinopathy grade|"
        "non proliferative|nonproliferative|diabetic eye disease",
        "糖尿病视网膜病变|糖尿病性视网膜病变|视网膜病变|糖网病|糖网|非增殖期|非增殖性",
    ),
    "topic:dr-referable": (
        "referable|refer|referred|referral|see an ophthalmologist|see a specialist|"
        "see an eye doctor|need an ophthalmologist|need a specialist|ophthalmology referral|"
        "referral to ophthalmology",
        "转诊|转院|转诊给眼科|转诊眼科|转眼科|看眼科医生|看眼科|看专科医生|看专科|看医生",
    ),
    "topic:dme-risk": (
        "macular edema|diabetic macular edema|dme|edema of the macula|macula edema|dmo",
        "黄斑水肿|糖尿病性黄斑水肿|糖尿病黄斑水肿",
    ),
    "topic:laterality": (
        "which eye|what eye|laterality|left or right|right or left|which side|what side|"
        "eye side|side|left or the right|right or the left",
        "哪只眼|哪只眼睛|哪一只眼|哪侧眼|哪个眼|哪一侧|眼别|左眼还是右眼|右眼还是左眼|哪侧",
    ),
    "topic:quality": (
        "quality|image quality|blurred|blurry|blur|sharp|clear|good enough|how good|gradable|"
        "be graded|be judged|sufficient|too dark|too bright|in focus|out of focus|well exposed|"
        "ungradable|good quality|of good quality",
        "质量|图像质量|质量好|质量好不好|质量怎么样|清晰|清楚|模糊|曝光|能分级|可以分级|可分级|对焦",
    ),
    "topic:photograph": (
        "fundus photograph|fundus photo|fundus picture|fundus image|kind of photograph|"
        "kind of picture|kind of image|kind of photo|type of image|type of photograph",
        "眼底照片|眼底图像|眼底照|眼底图|什么照片|什么图像|哪种照片|哪种图像|图像类型",
    ),
    "topic:haemorrhages": (
        "hemorrhage|hemorrhages|bleeding|bleed|retinal hemorrhage",
        "出血|出血点|出血斑|视网膜出血|眼底出血",
    ),
    "topic:microaneurysms": (
        "microaneurysm|micro aneurysm|ma",
        "微动脉瘤|微血管瘤|微动脉瘤病变",
    ),
    "topic:hard-exudates": ("hard exudate", "硬性渗出|硬渗|硬性渗出物"),
    "topic:soft-exudates": (
        "soft exudate|cotton wool spot|cotton wool|cws",
        "软性渗出|棉絮斑|棉絮样斑|软性渗出物|棉絮状斑",
    ),
    "topic:exudates": ("exudate|exudation", "渗出|渗出物"),
    "topic:lesions": (
        "lesion|lesions|abnormality|abnormalities|anything abnormal|abnormal",
        "病灶|病变|异常|损害|病灶点",
    ),
    "topic:disc": (
        "optic disc|disc|disk|optic disk|optic nerve head|nerve head|onh|papilla",
        "视盘|视乳头|视神经乳头|视神经盘",
    ),
    "topic:cup": ("optic cup|cup", "视杯"),
    "topic:fovea": (
        "fovea|macula|macula center|center of the macula|foveal center|fovea centralis|"
        "macular center",
        "中心凹|黄斑中心凹|黄斑|黄斑中心|黄斑区",
    ),
    "topic:vessels": (
        "vessel|blood vessel|retinal vessel|vasculature|vascular",
        "血管|视网膜血管",
    ),
    "topic:artery": ("artery|arteries|arteriole|arterial|retinal artery", "动脉|小动脉|视网膜动脉"),
    "topic:vein": ("vein|venule|venous|retinal vein", "静脉|小静脉|视网膜静脉"),
    "topic:cdr": (
        "cup to disc ratio|cup disc ratio|cdr|c d ratio|cup to disk ratio|vcdr",
        "杯盘比|杯盘比值|视杯视盘比",
    ),
    "topic:avr": (
        "artery vein ratio|artery to vein ratio|arteriovenous ratio|av ratio|avr|"
        "arteriole to venule ratio|arteriolar to venular ratio|a v ratio",
        "动静脉比|动静脉比值|动脉静脉比|动静脉管径比",
    ),
    "topic:crae": (
        "crae|central retinal artery equivalent|central retinal arteriolar equivalent",
        "视网膜中央动脉当量|中央动脉当量",
    ),
    "topic:crve": (
        "crve|central retinal vein equivalent|central retinal venular equivalent",
        "视网膜中央静脉当量|中央静脉当量",
    ),
    "topic:tortuosity": ("tortuosity|tortuous|twisted", "迂曲度|迂曲|弯曲度"),
    "topic:density": ("density|vessel density", "密度|血管密度"),
    "topic:fractal-dimension": ("fractal dimension|fractal", "分形维数|分形维度|分维数"),
    "topic:bifurcations": (
        "bifurcation|branching point|branch point|branching|forking",
        "分叉|分叉点|分叉数|分支点",
    ),
    "topic:temporal-angle": (
        "temporal angle|arcade angle|main temporal angle",
        "颞侧夹角|颞侧主夹角",
    ),
    "topic:field": ("field of view|field", "视野范围|视场"),
    "topic:text": (
        "report|reports|note|letter|written|write|text|old report",
        "报告|病历|记录|文字",
    ),
    "topic:summary": (
        "summarise|summarize|summary|describe|description|what do you see|what can you see|"
        "what is found|what was found|what did you find|findings|overview|impression|"
        "what is seen|what does it show|what does this show",
        "总结|概括|描述|描述一下|所见|有什么发现|看到了什么|看到什么|发现了什么|印象|小结",
    ),
    "topic:abilities": (
        "what can you not see|what can not you see|what can you not tell|what can i ask|"
        "what can you do|what can you tell me|what can you answer|what can you not do|"
        "what are your limits|what do you not see|what can not be seen|help",
        "你看不到什么|看不到什么|不能看到什么|我可以问什么|我能问什么|可以问什么|你能做什么|"
        "你会什么|你能回答什么|有什么局限|帮助",
    ),
    "ask:grade": (
        "grade|stage|level|severity|score|class",
        "级|分级|分期|几级|等级|程度|期|哪一级|哪期",
    ),
    "ask:severe": ("how severe|how bad|how advanced|how serious", "严重|多严重|有多严重|严重程度"),
    "ask:risk": ("risk", "风险"),
    "ask:count": (
        "how many|number|number of|count|counted|how numerous",
        "多少个|几个|多少处|几处|数量|个数|数目|计数|有几个|有多少个|有多少处|数一数|多少|有几处",
    ),
    "ask:where": (
        "where|location|located|position|whereabout|where about|lie",
        "哪里|哪儿|什么位置|什么地方|位置|何处|位于|哪个位置",
    ),
    "ask:size": (
        "how large|how big|size|area|cover|covered|extent|what area",
        "面积|大小|有多大|多大|多大面积|范围",
    ),
    "ask:largest": ("largest|biggest|the largest|the biggest", "最大的|最大"),
    "ask:far": (
        "how far|distance|how close|closest|nearest|near|how near|the nearest|the closest|far|"
        "close|apart|away",
        "多远|距离|有多远|离|距|最近|最近的|附近|靠近|多近",
    ),
    "ask:quadrants": (
        "quadrant|how many quadrant|in how many quadrant",
        "象限|几个象限|多少个象限",
    ),
    "ask:sure": (
        "how sure|sure|certain|how certain|confident|how confident|probability|likely|"
        "how likely|chance|confidence|certainty|probable|how probable|odds|trust",
        "把握|多大把握|有多大把握|概率|可能性|可信度|置信度|确定|肯定|可靠|可靠吗|多可靠|有多可靠",
    ),
    "ask:excluded": (
        "excluded|exclude|ruled out|rule out|not excluded|can not be excluded|possible|"
        "can be excluded",
        "排除|不能排除|可以排除|能排除",
    ),
    "ask:evidence": (
        "based on|evidence|evidence for|why|why this|come from|where from|where does",
        "依据|根据|为什么|为何|凭什么|理由",
    ),
    "ask:diameter": (
        "diameter|width|wide|how wide|caliber|calibre|across",
        "直径|管径|宽度|多宽|有多宽",
    ),
    "ask:compare": (
        "compare|compared|comparison|changed|change|worse|worsened|better|improved|progressed|"
        "progress|progression|since|last visit|previous|previous visit|earlier|earlier visit|"
        "before|last year|last time|grown|grow|new|follow up|different|difference|increased|"
        "decreased|increase|decrease|more than|fewer than|stable",
        "相比|比较|对比|变化|改变|加重|恶化|好转|改善|进展|上次|上一次|以前|之前|去年|新出现|新增|"
        "新的|增多|增加|减少|稳定|前次|随访",
    ),
    "only:R": ("right|right eye|od", "右|右眼|右侧"),
    "only:L": ("left|left eye|os", "左|左眼|左侧"),
    "only:grade-1": ("mild", "轻度"),
    "only:grade-2": ("moderate", "中度"),
    "only:grade-3": ("severe", "重度"),
    "only:grade-4": ("proliferative|pdr", "增殖期|增殖性|增殖型"),
    "only:vertical": ("vertical", "垂直"),
    "only:horizontal": ("horizontal", "水平"),
    "only:by-area": ("by area|area ratio", "面积比"),
    "only:zone-b": ("zone b", "b区|b 区"),
    "only:zone-c": ("zone c", "c区|c 区"),
    "only:hubbard": ("hubbard", "hubbard"),
    "only:knudtson": ("knudtson", "knudtson"),
    "pronoun": (
        "it|they|them|these|those|its|their|there",
        "它|它们|这些|那些|其|他们|其中",
    ),
    "not": ("no|not|without|none|never|free of", "没有|无|未|不"),
    "filler": (
        "a|an|the|is|are|was|were|be|been|do|does|did|have|has|had|got|of|in|on|at|to|from|for|"
        "with|and|or|by|as|this|that|any|some|all|at all|i|you|me|we|us|can|could|may|might|"
        "should|would|shall|must|please|tell|say|show|give|let|know|find|found|see|seen|look|"
        "looks like|detect|detected|identify|measure|measured|compute|calculate|report to|what|"
        "which|who|how|whether|if|about|patient|person|eye|photograph|photo|picture|image|scan|"
        "fundus|retina|retinal|case|here|present|visible|exist|exists|need|sign|signs|evidence of|"
        "case of|value|between|much|many|so|then|also|just|really|actually|ok|hello|hi|thanks|"
        "thank you|now|read|presence|there is|there are|is there|are there|"
        "in total|altogether|cannot|be seen|suffer|suffering|suffer from|out|than|one|ones|the eye|"
        "think|determine|graded|taken together|centre|center|her|his|she|he|model|algorithm|"
        "software|program|system|exactly|precisely|list|looking|looking at|assign|assigned|"
        "indicated|would you call|call|overall|roughly|approximately|currently|respectively|"
        "definitely|clearly|actual|spot|identified|reported|recorded|use|used|using",
        "的|了|吗|呢|吧|啊|有|有没有|是|是不是|是否|存在|请|请问|你|您|我|我们|能|能否|能不能|"
        "可以|可不可以|看到|看见|看出|发现|找到|这|这张|这个|这是|该|照片|图像|图片|图|眼底|眼底上|"
        "视网膜|视网膜上|中|里|里面|上|上面|患者|病人|多少|什么|怎么样|如何|怎样|哪些|哪个|哪种|"
        "几|在|到|和|与|跟|及|或|一下|告诉|给|出|测量|计算|需要|要|要不要|应该|是多少|情况|"
        "处|个|只|眼|眼睛|吗|么|那|那么|呀|都|也|还|为|值|数值|之间|会不会|是什么|什么样|显示|"
        "检测|检测到|检出|方向|方向的|高不高|位|好不好|模型|算法|列出|列举|得到|具体|准确|大致|目前的|"
        "得|算|占|累及|，|共|一共|总共|总|分布|大概|大约|怎|样|性|征象|迹象|说|现在|目前|有何|何",
    ),
    "outside:glaucoma": ("glaucoma|glaucomatous", "青光眼"),
    "outside:macular degeneration": (
        "macular degeneration|age related macular degeneration|amd|armd",
        "黄斑变性|年龄相关性黄斑变性|老年性黄斑变性",
    ),
    "outside:drusen": ("drusen|druse", "玻璃疣|玻璃膜疣"),
    "outside:cataract": ("cataract", "白内障"),
    "outside:eye pressure": ("intraocular pressure|eye pressure|iop", "眼压|眼内压"),
    "outside:vision": ("visual acuity|vision|acuity|how well can", "视力|视觉"),
    "outside:what will come": (
        "will|going to|prognosis|go blind|blind|blindness|future|survive|survival|outlook|life "
        "expectancy|next year|lose vision",
        "预后|失明|将来|未来|会|存活|寿命|以后",
    ),
    "outside:treatment": (
        "treatment|treat|treated|therapy|drug|medicine|medication|injection|injected|laser|"
        "lasered|surgery|operate|operation|anti vegf|dose|prescribe",
        "治疗|怎么治|用药|药|药物|注射|激光|手术|打针|剂量",
    ),
    "outside:the person": (
        "how old|age|old|male|female|sex|gender|name|who is|born|birth|address|identity|"
        "patient id|phone",
        "年龄|年纪|多大年纪|几岁|岁|性别|男|女|名字|姓名|叫什么|地址|身份|电话|身份证",
    ),
    "outside:blood tests": (
        "hba1c|blood sugar|glucose|cholesterol|blood pressure|blood test|lipid",
        "糖化血红蛋白|血糖|血压|胆固醇|血脂|化验",
    ),
    "outside:swelling or colour of the disc": (
        "papilledema|swollen|swelling|pale|pallor|edema",
        "视盘水肿|水肿|苍白|视乳头水肿|颜色",
    ),
    "outside:new vessels": (
        "neovascularization|neovascularisation|neovascular|new vessel|new blood vessel",
        "新生血管",
    ),
    "outside:beading or abnormal small vessels": (
        "venous beading|beading|irma|intraretinal microvascular abnormality",
        "串珠|静脉串珠|视网膜内微血管异常",
    ),
    "outside:detachment": ("detachment|detached|retinal detachment", "脱离|视网膜脱离"),
    "outside:the vitreous": ("vitreous|vitreous hemorrhage", "玻璃体|玻璃体出血|玻璃体积血"),
    "outside:an occlusion": (
        "occlusion|occluded|thrombosis|embolus|embolism|branch vein occlusion",
        "阻塞|栓塞|血栓|静脉阻塞|动脉阻塞",
    ),
    "outside:a hole or membrane": (
        "hole|macular hole|epiretinal membrane|membrane",
        "裂孔|前膜|孔",
    ),
    "outside:thickness": ("thick|thickness|thin", "厚|多厚|有多厚|厚度|薄"),
    "outside:the other eye": (
        "other eye|the other eye|fellow eye|both eyes|both",
        "另一只眼|另一只眼睛|另一眼|对侧眼|双眼|两只眼",
    ),
    "outside:when and how it was taken": (
        "when|date|camera|taken|which camera|machine|device",
        "什么时候|何时|日期|相机|设备|拍|拍摄",
    ),
    "outside:other organs": (
        "stroke|brain|heart|kidney|liver|lung|dementia",
        "中风|脑|脑出血|心脏|肾|肝|肺|痴呆",
    ),
}
