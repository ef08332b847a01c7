"""Texts that repeat the prompt, and those in which its words were really said."""

from __future__ import annotations

import pytest

from speech.asr.prompt_echo import find_echoes, is_confirmed

PROMPT = "A talk about Kubernetes, Dagster and BullMQ."


@pytest.mark.parametrize(
    ("text", "echoes"),
    [
        ("We run it on Kubernetes every night.", []),
        ("Kubernetes.", ["kubernetes"]),
        ("Dagster and Kubernetes", ["dagster and kubernetes"]),
        ("That is all. A talk about Kubernetes, Dagster and BullMQ.", ["a talk about kubernetes dagster and bullmq"]),
        ("He gave a talk about elephants.", ["a talk about"]),
        ("", []),
    ],
)
def test_runs_of_the_prompts_words_and_texts_of_nothing_else_are_found(text: str, echoes: list[str]) -> None:
    assert find_echoes(text, (PROMPT, None)) == echoes


def test_hotwords_are_looked_at_as_the_prompt_is() -> None:
    assert find_echoes("surgery mode, treatment mode", (None, "surgery mode, treatment mode, end")) == [
        "surgery mode treatment mode"
    ]
    assert find_echoes("anything at all", (None, None)) == []


@pytest.mark.parametrize(
    ("echo", "text", "confirmed"),
    [
        ("kubernetes", "cooper netties", True),
        ("kubernetes", "We run it on Cubernetis now.", True),
        ("a talk about", "He gave a talk about elephants.", True),
        ("a talk about kubernetes dagster and bullmq", "That is all.", False),
        ("surgery mode treatment mode", "", False),
        ("kubernetes", "And then he went home.", False),
    ],
)
def test_only_what_is_heard_without_the_prompt_confirms_its_words(echo: str, text: str, confirmed: bool) -> None:
    assert is_confirmed(echo, text) is confirmed
