"""The list of mutations fits the code; the runner itself is `make mutations`."""

import pytest

from tests.mutation.catalogue import MUTATIONS, Mutation
from tests.working_copy import ROOT


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[mutation.name for mutation in MUTATIONS])
def test_each_mutation_changes_one_place_and_leaves_python(mutation):
    text = (ROOT / mutation.file).read_text(encoding="utf-8")
    compile(mutation.mutated(text), mutation.file, "exec")
    for test in mutation.tests:
        path, _, name = test.partition("::")
        source = (ROOT / path).read_text(encoding="utf-8")
        assert not name or f"def {name}(" in source, f"{mutation.name}: no test {test}"


def test_names_are_unique():
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)


def test_a_text_that_the_file_does_not_hold_once_is_named():
    mutation = Mutation("a slip", "some.py", "x = 1", "x = 2", ())
    assert mutation.mutated("y = 0; x = 1") == "y = 0; x = 2"
    for text in ("y = 0", "x = 1; x = 1"):
        with pytest.raises(ValueError, match=r"'a slip': some.py holds 'x = 1' \d times, expected once"):
            mutation.mutated(text)
