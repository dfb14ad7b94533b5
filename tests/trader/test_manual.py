"""Commands of people, from one thread to another."""

import threading

from trader.manual import ManualCommand, ManualCommands


def test_commands_are_taken_in_order_by_a_thread_that_is_roused_for_them() -> None:
    roused = threading.Event()
    commands = ManualCommands(roused.set)
    answers: list[str | None] = []

    def person() -> None:
        for op in ("pause", "kill"):
            command = ManualCommand(op, "")
            commands.put(command)
            answers.append(command.wait(5))

    thread = threading.Thread(target=person)
    thread.start()
    taken: list[str] = []
    while len(taken) < 2:
        assert roused.wait(30)
        roused.clear()
        for command in commands.take():
            taken.append(command.op)
            command.answer(f"{command.op} done")
    thread.join(30)

    assert (taken, answers) == (["pause", "kill"], ["pause done", "kill done"])


def test_a_command_that_nobody_takes_has_no_answer() -> None:
    command = ManualCommand("pause", "")
    ManualCommands().put(command)

    assert command.wait(0) is None
