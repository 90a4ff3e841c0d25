"""Prompts behind a prefix of several tokens have the length of their context."""

import pytest
from support.losses_by_hand import all_rows
from support.prefixed import PREFIX, Prefixed
from support.prompts import data_of, evaluation_of


@pytest.mark.parametrize("name", ["needle", "passkey", "passkey_pi", "key_value", "ruler"])
def test_a_prompt_and_its_room_fill_the_context_to_the_token(name, monkeypatch):
    from lcx_lightning.evaluation.retrieval import retrieval

    read = []

    def given_answers(model, prompts, answers):
        read.extend((tuple(ids), len(answers[0])) for ids in prompts.tolist())
        return answers * 0.0, answers == answers

    def continuations(model, prompts, room, chunk):
        read.extend((tuple(ids), room) for ids in prompts)
        return [[] for _ in prompts]

    monkeypatch.setattr(retrieval, "given_answers", given_answers)
    monkeypatch.setattr(retrieval, "continuations", continuations)
    data, model = data_of(Prefixed()), type("Model", (), {"device": "cpu"})
    assert all_rows(evaluation_of(name, multiples=[8], trials=1).work_units(data, 1024, None), model)
    assert read
    assert {len(ids) + room for ids, room in read} == {8192}
    assert {ids[:3] for ids, _ in read} == {PREFIX}
    assert all(max(ids[3:]) < 256 for ids, _ in read)
