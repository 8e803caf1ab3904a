"""The life of a job: what may follow what, whatever is asked in whatever order."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from splitrail_trainer.jobs.domain import (
    ENDED,
    NEVER_RETRIED,
    FailureCause,
    FencedError,
    Job,
    JobEndedError,
    JobKind,
    JobState,
    cancel,
    claim,
    complete,
    fail,
    hold,
    lapse,
    progress,
    release,
)


def job(**fields) -> Job:
    return replace(Job("j", "default", JobKind.TRAIN, "default"), **fields)


RUNNING = job(state=JobState.RUNNING, attempt=1, worker="pod")


def test_a_claim_makes_the_next_attempt():
    claimed = claim(job(attempt=4, failures=1, cause=FailureCause.PROCESS, message="last time"), "pod")
    assert (claimed.state, claimed.attempt, claimed.worker, claimed.failures) == (JobState.RUNNING, 5, "pod", 1)


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.QUEUED])
def test_only_a_queued_job_can_be_claimed(state):
    with pytest.raises(ValueError):
        claim(job(state=state), "pod")


def test_a_lost_lease_counts_and_the_last_one_fails_the_job():
    current = job(max_attempts=2)
    current = lapse(claim(current, "a"))
    assert (current.state, current.failures, current.lapsed, current.cause) == (
        JobState.QUEUED,
        1,
        True,
        FailureCause.LOST_POD,
    )
    current = lapse(claim(current, "b"))
    assert (current.state, current.failures, current.lapsed) == (JobState.FAILED, 2, False)


def test_failures_count_since_the_last_checkpoint():
    current = claim(lapse(claim(job(max_attempts=2), "a")), "b")
    assert lapse(progress(current)).state is JobState.QUEUED


def test_an_attempt_takes_a_lapsed_job_back_until_another_claims_it():
    lapsed = lapse(RUNNING)
    back = hold(lapsed, 1)
    assert (back.state, back.failures, back.lapsed) == (JobState.RUNNING, 0, False)
    with pytest.raises(FencedError):
        hold(claim(lapsed, "other"), 1)


@pytest.mark.parametrize("after", [release(RUNNING), fail(RUNNING, FailureCause.PROCESS, "x"), complete(RUNNING)])
def test_an_attempt_that_gave_the_job_up_is_fenced(after):
    with pytest.raises(FencedError):
        hold(after, 1)


@pytest.mark.parametrize("cause", sorted(NEVER_RETRIED))
def test_what_would_fail_again_is_not_tried_again(cause):
    assert fail(RUNNING, cause, "no images").state is JobState.FAILED


def test_a_release_is_no_failure_and_a_cancelled_one_ends():
    assert (release(RUNNING).state, release(RUNNING).failures) == (JobState.QUEUED, 0)
    assert release(cancel(RUNNING)).state is JobState.CANCELLED


@pytest.mark.parametrize("end", [lapse, release, lambda held: fail(held, FailureCause.PROCESS, "x")])
def test_a_job_that_should_be_cancelled_never_returns_to_the_queue(end):
    assert end(cancel(RUNNING)).state is JobState.CANCELLED


def test_cancel_at_each_state():
    assert cancel(job()).state is JobState.CANCELLED
    assert cancel(RUNNING).state is JobState.RUNNING
    assert cancel(RUNNING).cancel_requested
    assert cancel(cancel(job())).state is JobState.CANCELLED
    for state in (JobState.SUCCEEDED, JobState.FAILED):
        with pytest.raises(JobEndedError):
            cancel(job(state=state))


class Life(RuleBasedStateMachine):
    """Any order of claims, lapses and calls by any attempt that there ever was."""

    def __init__(self):
        super().__init__()
        self.job = job()
        self.highest = 0
        self.announced = [JobState.QUEUED]

    def become(self, after: Job) -> None:
        assert not self.job.ended or after == self.job
        if after.state is not self.job.state:
            self.announced.append(after.state)
        self.job = after

    @precondition(lambda self: self.job.state is JobState.QUEUED)
    @rule()
    def claimed(self):
        self.become(claim(self.job, "pod"))
        self.highest += 1

    @precondition(lambda self: self.job.state is JobState.RUNNING)
    @rule()
    def lease_runs_out(self):
        self.become(lapse(self.job))

    @rule()
    def cancelled(self):
        try:
            self.become(cancel(self.job))
        except JobEndedError:
            assert self.job.state in {JobState.SUCCEEDED, JobState.FAILED}

    @rule(
        attempt=st.integers(1, 6),
        call=st.sampled_from(
            [progress, complete, release, *(lambda held, c=c: fail(held, c, "") for c in FailureCause)]
        ),
    )
    def attempt_calls(self, attempt, call):
        try:
            held = hold(self.job, attempt)
        except FencedError:
            assert attempt != self.highest or self.job.state is not JobState.RUNNING
            return
        assert attempt == self.highest
        self.become(held)
        self.become(call(held))

    @invariant()
    def holds(self):
        assert self.job.attempt == self.highest
        assert 0 <= self.job.failures <= self.job.max_attempts
        assert not (self.job.cancel_requested and self.job.state is JobState.QUEUED)
        assert not self.job.lapsed or self.job.state is JobState.QUEUED
        assert sum(state in ENDED for state in self.announced) <= 1
        assert self.job.state is self.announced[-1]


Life.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestLife = Life.TestCase


@given(failures=st.integers(0, 4), maximum=st.integers(1, 5), cause=st.sampled_from(list(FailureCause)))
def test_a_failure_ends_the_job_exactly_at_the_maximum(failures, maximum, cause):
    if failures >= maximum:
        return
    after = fail(replace(RUNNING, failures=failures, max_attempts=maximum), cause, "")
    assert (after.state is JobState.FAILED) == (cause in NEVER_RETRIED or failures + 1 == maximum)
