"""The grammar of tags."""

from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR

from initwatch.plugin.metadata import (
    MODEL,
    PLUGIN_NAME,
    STATE_TAG,
    STEPS,
    THEORY,
    digest_of,
    histogram_tag,
    parsed_tab_tag,
    scalar_tag,
    tab_metadata,
    tab_tag,
)
from initwatch.records import Statistic


def test_tags_of_the_tab_are_told_from_all_others():
    for kind in (MODEL, STEPS, THEORY):
        assert parsed_tab_tag(tab_tag(kind, "0123abcd")) == (kind, "0123abcd")
    for tag in (
        STATE_TAG,
        "initwatch/findings",
        *(scalar_tag(statistic, path) for statistic in Statistic for path in ("", "net/a")),
        *(histogram_tag(q, "steps") for q in ("weight", "gradient", "activation")),
        "steps/0123abcd",
    ):
        assert parsed_tab_tag(tag) is None, tag


def test_a_digest_tells_descriptions_apart_and_not_the_order_of_their_keys():
    one = {"layers": ["a", "b"], "schema": 1}
    assert digest_of(one) == digest_of(dict(reversed(one.items())))
    assert digest_of(one) != digest_of({"layers": ["b", "a"], "schema": 1})
    assert len(digest_of(one)) == 8


def test_tensors_are_listed_as_ours():
    """Without the data class TensorBoard's data provider lists nothing."""
    metadata = tab_metadata()
    assert metadata.plugin_data.plugin_name == PLUGIN_NAME
    assert metadata.data_class == DATA_CLASS_TENSOR
