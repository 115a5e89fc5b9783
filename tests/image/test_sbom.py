"""The bill of materials names what is in the image, all of it and nothing else."""

import json
import re
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

from image.building import Image
from image.sbom import ENVIRONMENT, write_sbom

PUBLIC = re.compile(r"https?://(?!localhost|127\.|10\.|192\.168\.)[\w.-]+\.[a-z]+(/|$)|mailto:")

UNSAID = ["cel-python"]
"""Its metadata name no licence; the file LICENSE in it is Apache-2.0."""


@pytest.fixture(scope="module")
def sbom(image: Image, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("sbom") / "apportion.cdx.json"
    write_sbom(image, file)
    return file.read_text()


def installed(image: Image) -> dict[str, str]:
    """By name as its purl has it: the versions of all but Apportion, as their own files say."""
    (packages,) = (image.root / ENVIRONMENT).glob("lib/*/site-packages")
    found = {each.metadata["Name"]: each.version for each in distributions(path=[str(packages)])}
    assert found.pop("apportion") == "0.1.0"
    return {name.lower().replace("_", "-"): version for name, version in found.items()}


def test_every_distribution_of_the_image_is_named_with_version_and_licence(sbom: str, image: Image) -> None:
    document = json.loads(sbom)
    assert document["bomFormat"] == "CycloneDX"
    components = document["components"]
    assert {each["purl"] for each in components} == {
        f"pkg:pypi/{name}@{version}" for name, version in installed(image).items()
    }
    assert [each["name"] for each in components if not each.get("licenses")] == UNSAID
    root = document["metadata"]["component"]
    assert (root["name"], root["version"], root["type"]) == ("apportion", "0.1.0", "application")
    assert [each["license"]["id"] for each in root["licenses"]] == ["Apache-2.0"]


def test_apportions_own_dependencies_are_drawn(sbom: str) -> None:
    edges = {each["ref"]: each.get("dependsOn", []) for each in json.loads(sbom)["dependencies"]}
    direct = {ref.partition("==")[0].lower() for ref in edges["root-component"]}
    assert {"kopf", "kubernetes", "pulp", "highspy", "pydantic"} <= direct
    reached = set(edges["root-component"])
    while more := {to for ref in reached for to in edges.get(ref, ())} - reached:
        reached |= more
    assert reached == edges.keys() - {"root-component"}


def test_it_tells_nothing_of_where_it_was_made(sbom: str) -> None:
    """No path, no address of a package index of one's own."""
    links = [text for text in strings(json.loads(sbom)) if "://" in text]
    assert [link for link in links if not PUBLIC.match(link)] == []
    assert not re.search(rf"/tmp/|{re.escape(str(Path.home()))}/|/home/|/wheels/", sbom)


def test_it_is_the_same_again_from_the_same_image(sbom: str, image: Image, tmp_path: Path) -> None:
    write_sbom(image, tmp_path / "again.json", validate=False)
    assert (tmp_path / "again.json").read_text() == sbom


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in strings(each)]
    if isinstance(value, list):
        return [text for each in value for text in strings(each)]
    return [value] if isinstance(value, str) else []
