"""What times a recording holds: two recordings of the same time are not two samples."""

from collections.abc import Iterable
from itertools import groupby
from typing import Final

from bus.tape.file import Recording, RecordingError, certificate_of

TOUCHING_NS: Final = 3_000_000_000
"""Segments of one recording meet, and may share a moment."""

Span = tuple[int, int, int]
"""The publisher's epoch, and from when to when what it said is recorded, in ns since 1970."""


def spans_of(recording: Recording) -> list[Span]:
    """Return what times are in a recording; of files of earlier builds the epoch is not known, and 0.

    Raises:
        OSError: it cannot be read.
    """
    spans: list[Span] = []
    for number in recording.segments():
        certificate = certificate_of(recording.segment(number)) if recording.in_segments else None
        if certificate is not None:
            spans += [(one.epoch, one.begin_ns, one.end_ns) for one in certificate.covers]
            continue
        try:
            alone = Recording(recording.segment(number))
        except RecordingError:
            continue  # it was begun in vain
        marks, _ = alone.look(0)
        for epoch, of_epoch in groupby(marks, lambda mark: mark.epoch):
            times_ns = [mark.time_ns for mark in of_epoch]
            spans.append((epoch, times_ns[0], times_ns[-1]))
        if marks:
            epoch, begin_ns, end_ns = spans.pop()
            spans.append((epoch, begin_ns, max(end_ns, alone.end_ns)))
    return spans


def shared_ns(one: Iterable[Span], other: Iterable[Span]) -> int:
    """Return for how long two recordings heard the same publisher at the same time; 0 if they only meet."""
    others = list(other)
    shared = (
        min(end_ns, its_end_ns) - max(begin_ns, its_begin_ns)
        for epoch, begin_ns, end_ns in one
        for its_epoch, its_begin_ns, its_end_ns in others
        if epoch == its_epoch
    )
    return sum(ns for ns in shared if ns > TOUCHING_NS)
