"""Makes small documents: Word, PDF, CDA and FHIR."""

import zipfile
from pathlib import Path

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def paragraph(text: str) -> str:
    return f"<w:p><w:r><w:t xml:space='preserve'>{text}</w:t></w:r></w:p>"


def docx(path: Path, body: str, **parts: str) -> Path:
    """A Word document with the body's XML; ``parts`` are further ones under ``word/``."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("[Content_Types].xml", "<Types/>")
        out.writestr("word/document.xml", f"<w:document {W}><w:body>{body}</w:body></w:document>")
        for name, content in parts.items():
            out.writestr(f"word/{name}.xml", content)
    return path


def pdf(pages: list[str]) -> bytes:
    """A PDF with a page for each text, a line a line, in Helvetica."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", "", "<< /Type /Font /Subtype /Type1 "
               "/BaseFont /Helvetica >>"]  # fmt: skip
    kids = []
    for text in pages:
        lines = " ".join(f"({line}) Tj 0 -14 Td" for line in text.split("\n") if line)
        content = f"BT /F1 12 Tf 72 720 Td {lines} ET" if text else ""
        objects.append(f"<< /Length {len(content)} >>\nstream\n{content}\nendstream")
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents "
            f"{len(objects)} 0 R /Resources << /Font << /F1 3 0 R >> >> >>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    out, offsets = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{one}\nendobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}".encode()
    out += f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\n".encode()
    return out + f"startxref\n{start}\n%%EOF\n".encode()


CDA = """<?xml version="1.0" encoding="UTF-8"?>
<ClinicalDocument xmlns="urn:hl7-org:v3">
  <title>Chest radiograph</title>
  <effectiveTime value="20200102103000+0100"/>
  <languageCode code="en-US"/>
  <recordTarget><patientRole><id extension="P-1" root="1.2.3"/>
    <patient><name>Secret</name></patient></patientRole></recordTarget>
  <component><structuredBody>
    <component><section><code code="18785-6" codeSystem="2.16.840.1.113883.6.1"/>
      <title>Why</title><text>Cough,
        three weeks.</text></section></component>
    <component><section><title>Findings</title>
      <text><paragraph>Right upper lobe <content styleCode="Bold">opacity</content>.</paragraph>
        <list><item>No effusion</item><item>Heart normal</item></list>
        <table><tbody><tr><td>CTR</td><td>0.48</td></tr></tbody></table></text>
      <component><section><title>Bones</title><text>Intact.</text></section></component>
      </section></component>
    <component><section><code code="19005-8"/><title>Summary</title>
      <text>Pneumonia likely.</text></section></component>
  </structuredBody></component>
</ClinicalDocument>
"""
