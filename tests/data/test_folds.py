"""Cross-validation: every image in one fold, every child in one fold, and what training sees of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage_jax.analysis import evaluate
from boneage_jax.data.examples import View
from boneage_jax.data.folds import Fold, read_patients
from boneage_jax.data.pairing import Images
from boneage_jax.errors import UserError
from boneage_jax.runs import run_folder
from boneage_jax.train.loop import train as train_run
from tests.conftest import small_config


@given(st.lists(st.text(min_size=1, max_size=6), unique=True, max_size=40), st.integers(2, 7), st.integers(1, 4))
def test_folds_part_images_by_child(ids, count, per_child):
    patients = {image_id: f"child {n // per_child}" for n, image_id in enumerate(ids)}
    held_out = [{i for i in ids if Fold(count, k, True, patients).keeps(i)} for k in range(count)]
    assert sorted(i for part in held_out for i in part) == sorted(ids), "each image in exactly one"
    for k, part in enumerate(held_out):
        assert {i for i in ids if Fold(count, k, False, patients).keeps(i)} == set(ids) - part
        children = {patients[i] for i in part}
        assert part == {i for i in ids if patients[i] in children}, "no child in two"


def test_folds_are_of_about_one_size():
    sizes = [sum(Fold(5, k, True).keeps(str(n)) for n in range(5000)) for k in range(5)]
    # Five standard deviations of a binomial distribution.
    assert all(abs(size - 1000) < 5 * (5000 * 0.2 * 0.8) ** 0.5 for size in sizes)


@pytest.mark.parametrize(("child", "fold"), [("p1", 2), ("p2", 1), ("1377", 2), ("4360", 3)])
def test_a_child_stays_in_its_fold_from_process_to_process(child, fold):
    """Folds of five as `printf CHILD | sha256sum` gives them: its first 16 digits modulo 5."""
    assert [k for k in range(5) if Fold(5, k, True).keeps(child)] == [fold]


def test_patients_of_a_table(tmp_path):
    path = tmp_path / "deeplasia.csv"
    path.write_text("image_ID,dir,patient_ID,sex,bone_age\n1.png,a,p1,F,12\n2,a,p1,F,24\n3,b,p2,M,36\n")
    assert read_patients(path) == {"1": "p1", "2": "p1", "3": "p2"}
    path.write_text("id,boneage\n1,2\n")
    with pytest.raises(UserError, match=r"found the columns id, boneage, expected id and patient"):
        read_patients(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_patients(tmp_path / "nowhere.csv")


@pytest.mark.parametrize("cell", ["17", "17.0", "00017.png", "images\\\\00017.PNG", "./00017"])
def test_patients_find_their_images_as_rows_of_labels_do(tmp_path, cell):
    path = tmp_path / "patients.csv"
    path.write_text(f"sep=;\nid;patient;\n{cell};p1;\nother;p1;\n\n")
    fold = Fold(5, 0, True, read_patients(path)).among(Images(("00017", "other", "alone")))
    assert fold.patients == {"00017": "p1", "other": "p1"}
    assert fold.keeps("00017") == fold.keeps("other") == Fold(5, 0, True).keeps("p1")


def test_patients_that_are_not_told_apart(tmp_path):
    path = tmp_path / "patients.csv"
    path.write_text("id,patient\n1,p1\n1.png,p2\n2,\n,p3\n")
    with pytest.raises(UserError, match=r"(?s)row 3: '1' is of 'p2', and of 'p1'.*row 4: found '2' and ''.*row 5"):
        read_patients(path)
    with pytest.raises(UserError, match="no image '1'; of that name there is A/1, B/1"):
        Fold(5, 0, True, {"1": "p1"}).among(Images(("A/1", "B/1")))
    with pytest.raises(UserError, match=r"'17': named by|17: named by"):
        Fold(5, 0, True, {"17": "p1", "017": "p2"}).among(Images(("17",)))
    with pytest.raises(UserError, match="names none of the 2 images; found '1', expected ids such as '8'"):
        Fold(5, 0, True, {"1": "p1"}).among(Images(("8", "9")))


@pytest.mark.integration
def test_a_run_learns_from_the_others_and_is_evaluated_on_its_fold(phantoms, data_dir, tmp_path):
    everyone = phantoms.split("train").ids()
    with (tmp_path / "patients.csv").open("w") as file:
        file.write("id,patient\n" + "".join(f"{image_id},{n // 2}\n" for n, image_id in enumerate(everyone)))
    patients = read_patients(tmp_path / "patients.csv")
    config = small_config(
        data_dir, phantoms, data__folds=3, data__fold=1, data__patients=str(tmp_path / "patients.csv")
    )
    train_run(config, tmp_path / "run")
    loaded = run_folder.load(tmp_path / "run")
    held_out = phantoms.split("train", View(fold=Fold(3, 1, True, patients))).ids()
    assert 0 < len(held_out) < len(everyone)
    assert evaluate.evaluate(loaded, split="train").ids == held_out
    assert evaluate.evaluate(loaded, split="test").ids == phantoms.split("test").ids()
