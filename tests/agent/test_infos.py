import numpy as np
import pytest

from ploutos.agent.infos import Infos


def test_every_environment_has_a_dict_of_its_own_that_keeps_what_is_written():
    infos = Infos(3, {1: {"end": True}})
    infos[0]["mine"] = 7
    assert list(infos) == [{"mine": 7}, {"end": True}, {}]
    assert infos[0] is infos[0]
    assert infos[2] is not infos[0]
    assert [info.get("end") for info in infos] == [None, True, None]


def test_it_is_read_as_a_list_is():
    infos = Infos(4, {3: {"end": True}})
    assert len(infos) == 4
    assert infos[-1] == {"end": True}
    assert infos[2:] == [{}, {"end": True}]
    assert infos[np.int64(3)] == {"end": True}
    assert next(reversed(infos)) == {"end": True}
    with pytest.raises(IndexError):
        infos[4]


def test_an_info_can_be_replaced():
    infos = Infos(2, {})
    infos[-1] = {"other": 1}
    assert list(infos) == [{}, {"other": 1}]
    assert repr(infos) == "[{}, {'other': 1}]"
