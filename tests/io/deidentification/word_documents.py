# ruff: noqa: E501 - XML reads best on one line
"""A Word document with somebody in every part of it, as Word writes one."""

import io
import zipfile
from pathlib import Path

from dicom_pictures import picture
from PIL import Image

NAME, OTHER = "Xiomara Quillfeather", "Balthazar Fazakerley"

_W = (
    'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
    'xmlns:w14="http://schemas.microsoft.com/office/word/2010/wordml" mc:Ignorable="w14"'
)
_R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'


def run(text: str) -> str:
    return f'<w:r w:rsidR="00AB12CD"><w:t xml:space="preserve">{text}</w:t></w:r>'


BODY = f"""
<w:p w14:paraId="11"><w:r><w:rPr><w:b/></w:rPr><w:t>Chest CT report</w:t></w:r></w:p>
<w:tbl><w:tr><w:tc><w:p>{run("Patient name")}</w:p></w:tc><w:tc><w:p>{run(NAME)}</w:p></w:tc></w:tr>
<w:tr><w:tc><w:p>{run("MRN")}</w:p></w:tc><w:tc><w:p>{run("MCH-0234567")}</w:p></w:tc></w:tr></w:tbl>
<w:p>{run("Seen by Dr. Bal")}{run("thazar Faza")}{run("kerley on 3 March 2019.")}</w:p>
<w:p>{run("FINDINGS: 6 mm nodule in the right upper lobe, 35 HU. No effusion.")}</w:p>
<w:p><w:ins w:id="1" w:author="{OTHER}" w:date="2019-03-04T10:00:00Z">{run("Stable.")}</w:ins>
<w:del w:id="2" w:author="{OTHER}" w:date="2019-03-04T10:00:00Z">
<w:r><w:delText>Mrs Quillfeather, born 14 Feb 1951</w:delText></w:r></w:del></w:p>
<w:p>{run("患者姓名：")}{run("欧阳")}{run("小明，男，65岁")}</w:p>
<w:p><w:hyperlink r:id="rId9">{run("mail")}</w:hyperlink>
<w:r><w:instrText>HYPERLINK "mailto:x.quillfeather@example.org"</w:instrText></w:r></w:p>
<w:p><w:commentRangeStart w:id="0"/>{run("See note")}<w:r><w:commentReference w:id="0"/></w:r></w:p>
<w:p><w:r><w:drawing><wp:inline xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing">
<wp:docPr id="1" name="{NAME}" descr="C:\\Users\\{NAME}\\scan.png"/>
<a:blip xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" r:embed="rId8"/>
</wp:inline></w:drawing></w:r></w:p>
<w:sectPr><w:headerReference w:type="default" r:id="rId5"/><w:footerReference w:type="default" r:id="rId6"/></w:sectPr>
"""


def _part(root: str, inner: str) -> str:
    return f"{_HEAD}<!-- {NAME} --><w:{root} {_W}>{inner}</w:{root}>"


def _relations(*rows: tuple[str, str, str]) -> str:
    ones = "".join(
        f'<Relationship Id="{i}" Type="{_R}/{t}" Target="{target}"'
        + (' TargetMode="External"' if ":" in target else "")
        + "/>"
        for i, t, target in rows
    )
    space = "http://schemas.openxmlformats.org/package/2006/relationships"
    return f'{_HEAD}<Relationships xmlns="{space}">{ones}</Relationships>'


def write(path: Path, *, more: dict[str, bytes] | None = None, relation: str = "") -> Path:
    """A document with a header, a footer, a comment, tracked changes, a picture and properties."""
    image = io.BytesIO()
    Image.fromarray(picture(text=NAME)).save(image, "PNG")
    rows = [
        ("rId1", "styles", "styles.xml"),
        ("rId2", "settings", "settings.xml"),
        ("rId4", "comments", "comments.xml"),
        ("rId5", "header", "header1.xml"),
        ("rId6", "footer", "footer1.xml"),
        ("rId7", "customXml", "../customXml/item1.xml"),
        ("rId8", "image", "media/Xiomara.png"),
        ("rId9", "hyperlink", "mailto:x.quillfeather@example.org"),
    ]
    if relation:
        rows.append(("rId10", relation, "embeddings/a.bin"))
    kinds = ("document.main", "styles", "settings", "comments", "header", "footer")
    names = ("document", "styles", "settings", "comments", "header1", "footer1")
    types = "".join(
        f'<Override PartName="/word/{name}.xml" ContentType="application/vnd.openxmlformats-'
        f'officedocument.wordprocessingml.{kind}+xml"/>'
        for name, kind in zip(names, kinds, strict=True)
    )
    core = (
        f'{_HEAD}<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/'
        'metadata/core-properties" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<dc:title>Report on {NAME}</dc:title><dc:creator>{OTHER}</dc:creator>"
        f"<cp:lastModifiedBy>{OTHER}</cp:lastModifiedBy></cp:coreProperties>"
    )
    comment = (
        f'<w:comment w:id="0" w:author="{OTHER}" w:initials="BF" w:date="2019-03-05T00:00:00Z">'
    )
    parts = {
        "[Content_Types].xml": f"{_HEAD}<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/"
        'content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package'
        '.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/><Default '
        f'Extension="png" ContentType="image/png"/>{types}</Types>',
        "_rels/.rels": _relations(
            ("rId1", "officeDocument", "word/document.xml"),
            ("rId2", "extended-properties", "docProps/app.xml"),
            ("rId3", "metadata/core-properties", "docProps/core.xml"),
        ),
        "word/document.xml": _part("document", f"<w:body>{BODY}</w:body>"),
        "word/_rels/document.xml.rels": _relations(*rows),
        "word/styles.xml": _part("styles", '<w:style w:type="paragraph" w:styleId="Normal"/>'),
        "word/settings.xml": _part(
            "settings", f'<w:zoom w:percent="100"/><w:docVars><w:docVar w:name="p" w:val="{NAME}"/></w:docVars>'
        ),
        "word/comments.xml": _part(
            "comments", f"{comment}<w:p>{run(f'call {OTHER} on 020 7946 0123')}</w:p></w:comment>"
        ),
        "word/header1.xml": _part("hdr", f"<w:p>{run('St. Quagmire Hospital')}</w:p>"),
        "word/footer1.xml": _part("ftr", f"<w:p>{run(f'Signed: {OTHER}, M.D.')}</w:p>"),
        "docProps/core.xml": core,
        "docProps/app.xml": f"{_HEAD}<Properties><Company>Quagmire</Company></Properties>",
        "customXml/item1.xml": f"<patient>{NAME}</patient>",
        "word/media/Xiomara.png": image.getvalue(),
        **(more or {}),
    }  # fmt: skip
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path
