"""A FHIR bundle, a CDA document, a device's XML and plain JSON, all about one made-up man."""

import base64
from typing import Any

NOTE = "Seen by Dr Balthazar Fazakerley on 3 March 2019. Mr Quillfeather is stable."

BUNDLE: dict[str, Any] = {
    "resourceType": "Bundle",
    "type": "collection",
    "link": [{"relation": "self", "url": "http://ehr.example.org/Patient?name=Quillfeather"}],
    "entry": [
        {
            "fullUrl": "http://ehr.example.org/fhir/Patient/p-7946",
            "resource": {
                "resourceType": "Patient",
                "id": "p-7946",
                "text": {"status": "generated", "div": "<div>Xiomara Quillfeather</div>"},
                "identifier": [
                    {
                        "use": "usual",
                        "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203",
                                             "code": "MR"}]},
                        "system": "urn:oid:1.3.6.1.4.1.99999.1",
                        "value": "MCH-0234567",
                        "assigner": {"display": "Quagmire Hospital"},
                    }
                ],
                "name": [{"family": "Quillfeather", "given": ["Xiomara"]}],
                "telecom": [{"system": "phone", "value": "020 7946 0018"}],
                "gender": "male",
                "birthDate": "1951-02-14",
                "_birthDate": {"extension": [{"url": "http://x.org/t", "valueDateTime": "1951"}]},
                "address": [{"city": "Quagmire"}],
                "extension": [{"url": "http://x.org/birthPlace", "valueString": "Quagmire"}],
                "managingOrganization": {"display": "Quagmire Hospital"},
            },
        },
        {
            "fullUrl": "http://ehr.example.org/fhir/DiagnosticReport/r1",
            "resource": {
                "resourceType": "DiagnosticReport",
                "id": "r1",
                "status": "final",
                "code": {"coding": [{"system": "http://loinc.org", "code": "24627-2"}],
                         "text": "CT chest"},
                "subject": {"reference": "Patient/p-7946", "display": "Xiomara Quillfeather"},
                "effectiveDateTime": "2019-03-03T10:11:12+01:00",
                "issued": "2019-03-05T10:11:12.123+01:00",
                "conclusion": "6 mm nodule, 35 HU. " + NOTE,
                "result": [{"reference": "#o1"}],
                "contained": [
                    {
                        "resourceType": "Observation",
                        "id": "o1",
                        "status": "final",
                        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"},
                                            {"system": "http://quagmire.example.org/codes",
                                             "code": "HR"}]},
                        "subject": {"reference": "http://ehr.example.org/fhir/Patient/p-7946"},
                        "effectiveDateTime": "2019-03-04",
                        "valueQuantity": {"value": 61.5, "unit": "/min", "code": "/min",
                                          "system": "http://unitsofmeasure.org"},
                    }
                ],
                "presentedForm": [
                    {"contentType": "text/plain",
                     "data": base64.b64encode(NOTE.encode()).decode()},
                    {"contentType": "application/pdf", "data": "JVBERi0xLjQK"},
                ],
            },
        },
        {
            "fullUrl": "http://ehr.example.org/fhir/ImagingStudy/s1",
            "resource": {
                "resourceType": "ImagingStudy",
                "id": "s1",
                "status": "available",
                "identifier": [{"system": "urn:dicom:uid",
                                "value": "urn:oid:1.3.6.1.4.1.99999.2.7946"}],
                "subject": {"reference": "Patient/p-7946"},
                "series": [{"uid": "1.3.6.1.4.1.99999.3.7946",
                            "modality": {"code": "CT",
                                         "system": "http://dicom.nema.org/resources/ontology/DCM"}}],
            },
        },
    ],
}  # fmt: skip

CDA = f"""<?xml version="1.0" encoding="UTF-8"?>
<?xml-stylesheet href="quagmire.xsl"?>
<!-- for Xiomara Quillfeather -->
<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <typeId root="2.16.840.1.113883.1.3" extension="POCD_HD000040"/>
  <id root="1.3.6.1.4.1.99999.7946" extension="DOC-7946"/>
  <code code="18748-4" codeSystem="2.16.840.1.113883.6.1"/>
  <title>Chest radiograph</title>
  <effectiveTime value="20190303101112+0100"/>
  <recordTarget><patientRole>
    <id root="1.3.6.1.4.1.99999.1" extension="MCH-0234567" assigningAuthorityName="Quagmire"/>
    <addr><city>Quagmire</city></addr><telecom value="tel:+44-20-7946-0018"/>
    <patient><name><given>Xiomara</given><family>Quillfeather</family></name>
      <administrativeGenderCode code="M" codeSystem="2.16.840.1.113883.5.1"/>
      <birthTime value="19510214"/></patient></patientRole></recordTarget>
  <component><structuredBody><component><section>
    <code code="18782-3" codeSystem="2.16.840.1.113883.6.1"/><title>Findings</title>
    <text><paragraph ID="a7946">6 mm nodule, 35 HU. {NOTE}</paragraph></text>
    <entry><observation classCode="OBS" moodCode="EVN">
      <text><reference value="#a7946"/></text><effectiveTime value="20190304"/>
      <value xsi:type="PQ" value="61.5" unit="/min"/></observation></entry>
  </section></component></structuredBody></component>
</ClinicalDocument>
"""

DEVICE = f"""<?xml version="1.0"?>
<HEDX><BODY><Patient><ID>7946</ID><LastName>Quillfeather</LastName>
<FirstNames>Xiomara</FirstNames><Birthdate><Date><Year>1951</Year></Date></Birthdate>
<Study><StudyDate>2019-03-03</StudyDate><Operator>Fazakerley</Operator>
<Series><Laterality>L</Laterality><ScaleX>0.011</ScaleX><Note>{NOTE}</Note>
<ImageURL>picture.png</ImageURL></Series></Study></Patient></BODY></HEDX>
"""

PLAIN: dict[str, Any] = {
    "patient": {"mrn": "MCH-0234567", "firstName": "Xiomara", "lastName": "Quillfeather",
                "birthDate": "1951-02-14", "age": 93, "address": {"lines": ["Quagmire 1", 7946]}},
    "visits": [{"visitDate": "2019-03-03", "hba1c": 6.5, "comment": NOTE, "reader": "B. Fazakerley",
                "image": "picture.png", "labels": [1, 2, 3], "ok": True, "left": None}],
    "byNumber": {"2019-03-03": 1, "Dr Fazakerley": 2},
    "thumbnail": "data:image/png;base64," + "QUJD" * 50,
}  # fmt: skip

SECRETS = (
    "Quillfeather", "Xiomara", "Fazakerley", "Balthazar", "MCH-0234567", "Quagmire", "1951", "2019",
    "7946", "example.org", "99999",
)  # fmt: skip
