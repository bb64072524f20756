"""The conformance classes of the sound plugins and of the mutants; ``breaks`` names the one check that has to fail."""

from __future__ import annotations

import conformance_mutants as mutants
from conformance_heavy import Heavy

from workbench.testing import (
    AlignConformance,
    DedupConformance,
    EvalConformance,
    FilterConformance,
    PretrainConformance,
    ReportConformance,
    RewardConformance,
    SftConformance,
    SourceConformance,
    TokenizerConformance,
    TrackerConformance,
)


class TestLimit(FilterConformance):
    plugin = mutants.Limit
    breaks = ""

    def make_config(self, folder):
        (folder / "words.txt").write_text("ferryman Ås", encoding="utf-8")
        return {"words": str(folder / "words.txt")}


class TestSecretive(TestLimit):
    plugin = mutants.Secretive
    breaks = "test_it_reads_only_what_is_declared"


class TestUntidy(FilterConformance):
    plugin = mutants.Untidy
    breaks = "test_it_writes_only_what_is_declared"


class TestFragile(FilterConformance):
    plugin = mutants.Fragile
    breaks = "test_bad_input_gives_a_workbench_error"


class TestVague(FilterConformance):
    plugin = mutants.Vague
    breaks = "test_the_output_is_valid"


class TestSlow(FilterConformance):
    plugin = mutants.Slow
    cpu_seconds = 2.5
    breaks = "test_a_run_stays_within_the_cpu_budget"


class TestSilent(FilterConformance):
    plugin = mutants.Silent
    breaks = "test_the_class_keeps_the_contract"


class TestHeavy(FilterConformance):
    plugin = Heavy
    breaks = "test_registration_imports_nothing_heavy"


class TestMutable(FilterConformance):
    plugin = mutants.Mutable
    breaks = "test_the_config_is_frozen"


class TestBare(FilterConformance):
    plugin = mutants.Bare
    breaks = "test_every_config_field_is_documented"


class TestLoose(FilterConformance):
    plugin = mutants.Loose
    breaks = "test_an_unknown_config_key_is_refused"


class TestEqual(RewardConformance):
    plugin = mutants.Equal
    breaks = ""


class TestEndless(RewardConformance):
    plugin = mutants.Endless
    breaks = "test_the_output_is_valid"


class TestChatty(RewardConformance):
    plugin = mutants.Chatty
    breaks = "test_it_reads_only_what_is_declared"


class TestDice(SourceConformance):
    plugin = mutants.Dice
    breaks = ""


class TestLoaded(SourceConformance):
    plugin = mutants.Loaded
    breaks = "test_the_same_seed_gives_the_same_bytes"


class TestFirstLine(DedupConformance):
    plugin = mutants.FirstLine
    breaks = ""


class TestHashed(DedupConformance):
    plugin = mutants.Hashed
    breaks = "test_another_process_gives_the_same_bytes"


class TestBytes(TokenizerConformance):
    plugin = mutants.Bytes
    breaks = ""


class TestScattered(TokenizerConformance):
    plugin = mutants.Scattered
    breaks = "test_it_writes_only_what_is_declared"


class TestRandom(PretrainConformance):
    plugin = mutants.Random
    breaks = ""


class TestForgetful(PretrainConformance):
    plugin = mutants.Forgetful
    breaks = "test_kill_and_resume_equals_uninterrupted"


class TestTuned(SftConformance):
    plugin = mutants.Tuned
    breaks = ""


class TestTrusting(SftConformance):
    plugin = mutants.Trusting
    breaks = "test_kill_and_resume_equals_uninterrupted"


class TestAligned(AlignConformance):
    plugin = mutants.Aligned
    breaks = ""


class TestCrooked(AlignConformance):
    plugin = mutants.Crooked
    breaks = "test_the_model_can_be_evaluated"


class TestLengths(EvalConformance):
    plugin = mutants.Lengths
    breaks = ""


class TestUndefined(EvalConformance):
    plugin = mutants.Undefined
    breaks = "test_the_output_is_valid"


class TestListing(ReportConformance):
    plugin = mutants.Listing
    breaks = ""


class TestLocal(ReportConformance):
    plugin = mutants.Local
    breaks = "test_another_process_gives_the_same_bytes"


class TestNotes(TrackerConformance):
    plugin = mutants.Notes
    breaks = ""


class TestRepetitive(TrackerConformance):
    plugin = mutants.Repetitive
    breaks = "test_a_replay_records_nothing_twice"


class TestMisspelt(TrackerConformance):
    plugin = mutants.Misspelt
    breaks = "test_no_hook_is_misspelt"


class TestLost(TrackerConformance):
    plugin = mutants.Lost
    breaks = "test_it_writes_only_into_the_workspace"


class TestClumsy(TrackerConformance):
    plugin = mutants.Clumsy
    breaks = "test_every_event_is_taken"
