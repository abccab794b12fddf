"""Folders as people have them, made of a few pictures: official, zipped, Kaggle's, plain."""

import dataclasses
import pathlib
import zipfile

import numpy as np
import openpyxl

from boneage_jax.data import images


@dataclasses.dataclass(frozen=True)
class Child:
    """One child: id, bone age in months, whether a boy, picture."""

    id: str
    months: float
    male: bool
    png: bytes


def children(count: int, first_id: int, *, size: tuple[int, int] = (40, 32), seed: int = 0) -> list[Child]:
    """Makes children with noise for pictures."""
    generator = np.random.default_rng(seed + first_id)
    return [
        Child(
            str(first_id + n),
            float(generator.integers(1, 229)),
            bool(n % 2),
            images.encode(generator.integers(0, 256, size, dtype=np.uint8), "png"),
        )
        for n in range(count)
    ]


def write_images(folder: pathlib.Path, some: list[Child]) -> None:
    """Writes ID.png files."""
    folder.mkdir(parents=True, exist_ok=True)
    for child in some:
        (folder / f"{child.id}.png").write_bytes(child.png)


def write_csv(path: pathlib.Path, some: list[Child]) -> None:
    """Writes the columns of the official training table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"{c.id},{c.months:.0f},{c.male}\n" for c in some)
    path.write_text("id,boneage,male\n" + rows)


def official(root: pathlib.Path, train: list[Child], validation: list[Child], test: list[Child]) -> pathlib.Path:
    """The official download, unpacked: three folders, three spellings, one of them a spreadsheet."""
    write_images(root / "boneage-training-dataset", train)
    write_csv(root / "train.csv", train)
    half = len(validation) // 2
    write_images(root / "Bone Age Validation Set" / "boneage-validation-dataset-1", validation[:half])
    write_images(root / "Bone Age Validation Set" / "boneage-validation-dataset-2", validation[half:])
    rows = "".join(f"{c.id},{str(c.male).upper()},{c.months:.0f}\n" for c in validation)
    (root / "Bone Age Validation Set" / "Validation Dataset.csv").write_text("Image ID,male,Bone Age (months)\n" + rows)
    write_images(root / "Bone Age Test Set" / "Test Set Images", test)
    book = openpyxl.Workbook()
    book.active.append(["Case ID", "Sex", "Ground truth bone age (months)"])
    for c in test:
        book.active.append([int(c.id), "M" if c.male else "F", c.months + 0.25])
    book.save(root / "Bone Age Test Set" / "Bone age ground truth.xlsx")
    return root


def zipped(root: pathlib.Path, unpacked: pathlib.Path) -> pathlib.Path:
    """The official download as it comes: a zip a part, the validation images in zips within a zip."""
    root.mkdir(parents=True)

    def pack(target, folder, *, skip=()):
        with zipfile.ZipFile(target, "w") as archive:
            for file in sorted(p for p in folder.rglob("*") if p.is_file()):
                if not any(part in skip for part in file.parts):
                    archive.write(file, file.relative_to(folder.parent))
            archive.writestr("__MACOSX/._junk.png", b"junk")

    pack(root / "boneage-training-dataset.zip", unpacked / "boneage-training-dataset")
    with zipfile.ZipFile(root / "boneage-training-dataset-annotations.zip", "w") as archive:
        archive.write(unpacked / "train.csv", "train.csv")
    inner_names = ("boneage-validation-dataset-1", "boneage-validation-dataset-2")
    pack(root / "Bone Age Validation Set.zip", unpacked / "Bone Age Validation Set", skip=inner_names)
    for name in inner_names:
        inner = root / f"{name}.zip"
        pack(inner, unpacked / "Bone Age Validation Set" / name)
        with zipfile.ZipFile(root / "Bone Age Validation Set.zip", "a") as archive:
            archive.write(inner, f"Bone Age Validation Set/{name}.zip")
        inner.unlink()
    pack(root / "Bone Age Test Set.zip", unpacked / "Bone Age Test Set")
    return root


def kaggle(root: pathlib.Path, train: list[Child], test: list[Child]) -> pathlib.Path:
    """The mirror kmader/rsna-bone-age: doubly nested folders, a test table without ages."""
    for part, some in (("training", train), ("test", test)):
        write_images(root / f"boneage-{part}-dataset" / f"boneage-{part}-dataset", some)
    write_csv(root / "boneage-training-dataset.csv", train)
    rows = "".join(f"{c.id},{'M' if c.male else 'F'}\n" for c in test)
    (root / "boneage-test-dataset.csv").write_text("Case ID,Sex\n" + rows)
    return root


def plain(root: pathlib.Path, some: list[Child]) -> pathlib.Path:
    """Images beside one table."""
    write_images(root, some)
    write_csv(root / "labels.csv", some)
    return root


def rhpe(root: pathlib.Path, train: list[Child], validation: list[Child], test: list[Child]) -> pathlib.Path:
    """RHPE as it is published: numbers in the tables, numbers with leading zeros as file names, no ages of the test."""
    for name, some in (("train", train), ("val", validation), ("test", test)):
        write_images(root / f"RHPE_{name}", [dataclasses.replace(c, id=c.id.zfill(5)) for c in some])
        tables = root / "RHPE_Annotations"
        tables.mkdir(exist_ok=True)
        if name == "test":
            header, rows = "ID,Male,Chronological", "".join(f"{c.id},{c.male},{c.months + 3:.0f}\n" for c in some)
            (tables / "RHPE_Gender_Chronological_test.csv").write_text(f"{header}\n{rows}")
        else:
            header = "ID,Male,Boneage,Chronological"
            rows = "".join(f"{c.id},{c.male},{c.months:.0f},{c.months + 3:.0f}\n" for c in some)
            (tables / f"RHPE_Boneage_{name}.csv").write_text(f"{header}\n{rows}")
    (root / "RHPE_Annotations" / "RHPE_anatomical_ROIs_train.json").write_text("{}")
    return root
