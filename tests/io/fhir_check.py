"""What the FHIR tests ask of the npm package fhir, a validator that is not ours."""

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_PLACES = (_ROOT / ".cache" / "node" / "node_modules", _ROOT / "node_modules")
_SCRIPT = (
    "const {Fhir}=require('fhir');const one=new Fhir();"
    "const all=JSON.parse(require('fs').readFileSync(0));"
    "console.log(JSON.stringify(all.map(r=>{const v=one.validate(r,{errorOnUnexpected:true});"
    "return v.messages.filter(m=>m.severity==='error'||m.severity==='fatal')"
    ".map(m=>r.resourceType+': '+m.location+': '+m.message)"
    ".concat(v.valid?[]:[r.resourceType+' is not valid'])})))"
)


_AS_XML = (
    "const {Fhir}=require('fhir');"
    "console.log(new Fhir().objToXml(JSON.parse(require('fs').readFileSync(0))))"
)


@cache
def _environment() -> dict[str, str]:
    if shutil.which("node") is None:
        pytest.skip("node is not installed: make validator")
    places = [os.environ.get("NODE_PATH", ""), *map(str, _PLACES)]
    environment = {**os.environ, "NODE_PATH": os.pathsep.join(filter(None, places))}
    probe = subprocess.run(
        ["node", "-e", "require.resolve('fhir')"], env=environment, capture_output=True, check=False
    )
    if probe.returncode:
        pytest.skip("the npm package fhir is not installed: make validator")
    return environment


def fhir_xml(resource: dict[str, Any]) -> str:
    """A resource in XML, as the package writes it; skips where it is not installed."""
    done = subprocess.run(
        ["node", "-e", _AS_XML],
        input=json.dumps(resource),
        env=_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


def fhir_errors(*resources: dict[str, Any]) -> list[str]:
    """The errors that the validator finds in R4 resources; skips where it is not installed."""
    done = subprocess.run(
        ["node", "-e", _SCRIPT],
        input=json.dumps(resources),
        env=_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return [line for found in json.loads(done.stdout) for line in found]
