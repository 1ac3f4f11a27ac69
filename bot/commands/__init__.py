"""The Click tree behind `/retention` and the terminal's `retention`. A file per subject.

A file ``bot/commands/<name>.py`` has the command ``<name>``: a `Command`, or a `Group` of them.
`bot.commands.summaries.FILES` names the files with other commands. The decorated function is the
whole command. It gets a `Call` (person, place, services)
and the parsed parameters, and returns one of these:

- A ``workers.job_requests.Request``: work for the workers. Slack queues it and acknowledges. The
  terminal runs it at once, or queues it with ``--queue``. The function must be pure, and the
  command names its request class, which has the role.
- An `Answer`: an immediate answer. Slack shows ``templates/slack/<template>.yaml.j2`` to the
  person. The terminal prints ``templates/terminal/<template>.txt.j2`` or, with ``--json``, the
  data.

docs/contributor/tutorials/add_a_command.md writes one.

Attributes of a command:

- ``role``: an Answer command needs one. It is checked before the function runs.
- ``surfaces``: ``SLACK``, ``TERMINAL``, or ``BOTH``, the default.
- ``request``: the class of the returned request.
- ``private``: results name people, so they go to the person's direct message.
- ``after``: terminal only, a function that handles the result, e.g. writes a file.
- ``starts_processes``: creates no database and prints no result.
- ``without_database``: creates no database and checks no role.

Options with a path or a URL use ``cls=TerminalOption``, and Slack does not offer them. Raise
the errors of ``retention.errors``: the person gets the message. Never prompt, echo, or read the
environment here. A command that changes data must be safe to deliver twice:
``call.first_time(session)`` is False on the second delivery. Help, docs/reference/commands.md and
the manifest's usage hint are generated from this tree.
"""
