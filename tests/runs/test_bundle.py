"""The shipped bundle, bundles of older versions, and that no bundle names the machine it was made on."""

import dataclasses
import getpass
import hashlib
import json
import pathlib
import re
import socket

import jax
import numpy as np
import pytest
import safetensors

from boneage_jax import resources, settings
from boneage_jax.canvas import Canvas
from boneage_jax.config import PATHS, ExperimentConfig, all_keys, to_dict, validate
from boneage_jax.errors import UserError
from boneage_jax.hand.quality import Thresholds
from boneage_jax.network_ref import NetworkRef
from boneage_jax.runs import bundle, run_folder
from boneage_jax.workflows import bundling
from boneage_jax.workflows.assess import Assessor
from boneage_jax.workflows.assessment import PHANTOMS_ONLY
from boneage_jax.workflows.hand_networks import open_networks
from boneage_jax.workflows.requests import AssessRequest, BundleRequest

SHIPPED_TENSORS = "353231d429b069388832c78033485230638e8cc2bdeb682076d65daf9e4f1dbb"
"""SHA-256 of all that follows the header, as it was before the header was scrubbed."""


def header_of(path):
    with safetensors.safe_open(str(path), framework="numpy") as file:
        return file.metadata()


OLD_HEADER = pathlib.Path(__file__).parent / "old_bundle_header.json"
"""The header of the shipped bundle as version 1 wrote it, without the index of its arrays."""


def rewritten(path, metadata):
    """Writes the shipped bundle's arrays under another header."""
    data = resources.shipped_bundle("phantom_only").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start]) | {"__metadata__": metadata}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[start:])


def looks_like_this_machine(text):
    """Absolute paths, homes, folders of scratch, names of users and machines, in any text of a header."""
    found = re.findall(r'"(?:/|~|\.\.|[A-Za-z]:\\)[^"]*"', text.replace('\\"', '"'))
    names = [getpass.getuser(), socket.gethostname(), str(pathlib.Path.home()), str(pathlib.Path.cwd())]
    found += [
        word for word in ("/tmp", "/work", "/root", "/home", "/Users", "/scratch", "/mnt", "file:") if word in text
    ]
    return found + [name for name in names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)]


def test_the_check_finds_what_it_looks_for():
    assert looks_like_this_machine(json.dumps({"members": json.dumps({"start": "/srv/runs/x"})}))
    assert looks_like_this_machine(json.dumps({"start": str(pathlib.Path.home() / "runs")}))
    assert not looks_like_this_machine(
        json.dumps({"name": "hand_phantom/raw", "start": "shipped:age0", "warmup": "5%"})
    )


@pytest.mark.parametrize("name", resources.shipped_bundles())
def test_no_shipped_bundle_names_a_machine(name):
    header = header_of(resources.shipped_bundle(name))
    assert not looks_like_this_machine(json.dumps(header))
    members = json.loads(header["members"])
    default = settings.flatten(to_dict(ExperimentConfig()))
    for member in members.values():
        flat = settings.flatten(member["config"])
        assert {key: flat[key] for key in PATHS - {"train.start"}} == {
            key: default[key] for key in PATHS - {"train.start"}
        }
        assert flat["train.start"].partition(":")[0] in ("", *resources.shipped_bundles())


def test_what_a_shipped_bundle_left_out_is_said():
    members = json.loads(header_of(resources.shipped_bundle("phantom_only"))["members"])
    assert members["segmentation"]["left_out"] == ["train.start"]


def test_the_shipped_tensors_are_what_they_were():
    data = resources.shipped_bundle("phantom_only").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    assert hashlib.sha256(data[start:]).hexdigest() == SHIPPED_TENSORS


def test_the_shipped_bundle_holds_its_thresholds_and_canvas(capsys):
    networks = open_networks("phantom_only", "phantom_only")
    assert networks.thresholds() == networks.calibration.thresholds == Thresholds()
    assert networks.calibration.origin.source == "hand_phantom/raw_0-2000-0 validation"
    assert (networks.calibration.origin.images, networks.calibration.origin.method) == (2000, "failures")
    assert networks.canvas == Canvas()
    assert not capsys.readouterr().err
    swapped = open_networks("phantom_only", "phantom_only:landmarks")
    assert swapped.calibration == networks.calibration


def test_a_bundle_of_an_older_version_still_loads(tmp_path):
    """Its keys are limits, frame, echoes, emphasis and grain; its arrays are those of the shipped bundle."""
    stored = json.loads(OLD_HEADER.read_text())
    for member in stored["members"].values():
        assert {"frame", "echoes", "emphasis"} < member["config"]["data"].keys()
        assert "grain" in member["config"]["augment"]
    limits = dataclasses.replace(Thresholds(), expected=0.5)
    about = stored["about"] | {"limits": dataclasses.asdict(limits)}
    old = tmp_path / "old.safetensors"
    metadata = {"members": json.dumps(stored["members"]), "about": json.dumps(about)}
    rewritten(old, {"format": stored["format"]} | metadata)
    ours, theirs = bundle.read(resources.shipped_bundle("phantom_only")).runs, bundle.read(old).runs
    assert list(ours) == list(theirs) == ["segmentation", "landmarks", "age0", "age1"]
    for name, loaded in ours.items():
        assert theirs[name].config == loaded.config
        assert run_folder.digest(theirs[name]) == run_folder.digest(loaded)
    networks = open_networks(old, old)
    assert networks.thresholds() == limits
    assert (networks.calibration.origin, networks.canvas) == (None, None)


@pytest.mark.parametrize("about", [{"thresholds": {"area": "wide"}}, {"canvas": {"depth": 3}}, {"thresholds": [1]}])
def test_a_bundle_of_damaged_notes_is_refused(about, tmp_path):
    path = tmp_path / "b.safetensors"
    members = header_of(resources.shipped_bundle("phantom_only"))["members"]
    rewritten(path, {"format": bundle.FORMAT, "members": members, "about": json.dumps(about)})
    with pytest.raises(UserError, match=r"b\.safetensors: its quality thresholds or canvas cannot be used"):
        open_networks(path, path)


def test_networks_without_thresholds_of_their_own_get_the_default_ones_with_a_warning(tmp_path, capsys):
    path = tmp_path / "b.safetensors"
    rewritten(path, header_of(resources.shipped_bundle("phantom_only")) | {"about": "{}"})
    for pair in ((path, path), ("phantom_only", path)):
        networks = open_networks(*pair)
        assert networks.calibration is None
        assert networks.thresholds() == Thresholds()
        warning = capsys.readouterr().err
        assert warning.count("\n") == 1
        assert "no quality thresholds were chosen for these networks" in warning
        assert f"boneage calibrate quality DATASET --segmentation {networks.segmentation.folder}" in warning


def test_a_fresh_bundle_names_no_machine(trained, tmp_path):
    """Every setting that can be a path is one, of this machine."""
    loaded = run_folder.load(trained)
    nested = to_dict(loaded.config)
    for key in PATHS - {"model.weights"}:  # those are for another network than this one
        section, name = key.split(".")
        nested[section][name] = str(tmp_path / f"secret {name}")
    assert looks_like_this_machine(json.dumps(nested))
    changed = dataclasses.replace(loaded, config=validate(nested))
    bundle.write({"it": changed}, {"said": "so"}, tmp_path / "b.safetensors")
    header = json.dumps(header_of(tmp_path / "b.safetensors"))
    assert not looks_like_this_machine(header)
    assert "secret" not in header
    again = bundle.read(tmp_path / "b.safetensors").runs["it"]
    assert again.about["left_out"] == sorted(PATHS - {"model.weights", "data.dir"})
    # One that is bundled again still says what was left out.
    bundle.write({"it": again}, {}, tmp_path / "c.safetensors")
    assert bundle.read(tmp_path / "c.safetensors").runs["it"].about["left_out"] == again.about["left_out"]


def test_weights_in_8_bits(trained, tmp_path):
    """Half as large; no weight further off than half a step of its channel; the same to the bit when written again."""
    loaded = run_folder.load(trained)
    sizes = {}
    for bits in (16, 8):
        sizes[bits] = bundle.write({"it": bundle.in_bits(loaded, bits)}, {}, tmp_path / f"{bits}.safetensors")
    first = bundle.read(tmp_path / "8.safetensors").runs["it"]
    plain, rounded = (jax.tree.leaves(jax.device_get(one.arrays["params"])) for one in (loaded, first))
    matrices = 0
    for before, after in zip(plain, rounded, strict=True):
        if before.ndim < 2:
            np.testing.assert_allclose(after, before, rtol=1e-3)
            continue
        matrices += 1
        step = np.abs(before).reshape(-1, before.shape[-1]).max(0) / 127
        assert (np.abs(after - before) <= 0.51 * step + 1e-3 * np.abs(before)).all()
    assert matrices > 2
    in_memory = jax.tree.leaves(jax.device_get(bundle.in_bits(loaded, 8).arrays["params"]))
    for stored, kept in zip(rounded, in_memory, strict=True):
        if stored.ndim >= 2 and stored.size >= 8 * stored.shape[-1]:
            np.testing.assert_array_equal(stored, kept)
    assert sizes[8] < 0.75 * sizes[16]
    assert header_of(tmp_path / "8.safetensors")["format"] == bundle.FORMAT_8
    assert header_of(tmp_path / "16.safetensors")["format"] == bundle.FORMAT
    bundle.write({"it": first}, {}, tmp_path / "again.safetensors")
    contents = []
    for name in ("8", "again"):
        with safetensors.safe_open(str(tmp_path / f"{name}.safetensors"), framework="numpy") as file:
            tensors = {key: file.get_tensor(key) for key in list(file.keys())}
            contents.append({key: (str(one.dtype), one.tobytes()) for key, one in tensors.items()})
    assert contents[0] == contents[1]


@pytest.mark.parametrize("start", ["shipped", "shipped:age1", "phantom_only:age0"])
def test_what_comes_with_the_package_is_named(start):
    nested = to_dict(ExperimentConfig())
    nested["train"]["start"] = start
    scrubbed, left_out = bundle._anywhere(nested)
    assert (scrubbed["train"]["start"], left_out) == (start, [])


def test_every_setting_that_names_a_file_is_known():
    """By what its help says: a new one must be scrubbed too."""
    found = set()
    for key in all_keys():
        section, name = key.split(".")
        (group,) = (field for field in dataclasses.fields(ExperimentConfig) if field.name == section)
        (field,) = (one for one in dataclasses.fields(group.default_factory) if one.name == name)
        if re.search(r"\b(folder|file|CSV)\b", field.metadata["help"]):
            found.add(key)
    assert found - {"data.eval_masks"} == PATHS - {"data.eval_masks"}


@pytest.mark.parametrize("key", sorted(PATHS))
def test_addresses_are_refused_in_settings(key):
    nested = to_dict(ExperimentConfig())
    section, name = key.split(".")
    nested[section][name] = "gs://bucket/x"
    with pytest.raises(UserError, match=rf"{re.escape(key)}: found 'gs://bucket/x', an address"):
        validate(nested)


@pytest.mark.integration
def test_terms_follow_a_network_out_of_its_bundle(tmp_path):
    """From a bundle to a bundle of one of its networks, and to whatever reads ages by it; not to other networks."""
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    terms = "Learnt from images for research only."
    shipped = NetworkRef.parse("phantom_only")
    bundling.make(BundleRequest(shipped, shipped, (NetworkRef.parse("phantom_only:age0"),), first, terms=terms))
    assert bundle.notes(first)["terms"] == terms
    bundling.make(BundleRequest(shipped, shipped, (NetworkRef.parse(f"{first}:age0"),), second))
    assert bundle.notes(second)["terms"] == terms
    expected = {
        AssessRequest((), bundle=second): (terms,),
        AssessRequest((), (NetworkRef.parse(f"{first}:age0"),), bundle=shipped.place): (terms,),
        AssessRequest((), bundle=shipped.place): (),
        AssessRequest((), (shipped_age := NetworkRef.parse("phantom_only:age0"),), bundle=second): (terms,),
        AssessRequest((), (shipped_age,), segmentation=shipped, landmarks=shipped, bundle=second): (),
    }
    for request, remarks in expected.items():
        with Assessor(request) as assessor:
            assert assessor.remarks == (*remarks, PHANTOMS_ONLY)
