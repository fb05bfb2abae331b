"""Processes in a container: what `exec()` takes, and what it gives."""

from wherry.process._abort import AbortController, AbortSignal
from wherry.process._call import ExecCall, ExecContext
from wherry.process._options import ExecOptions, PtySize, Stderr, Stdin, Stdout, check_exec
from wherry.process._output import ExecOutput, ResourceUsage
from wherry.process._process import ExecProcess, ExitCode
from wherry.process._users import User, UserDatabase

__all__ = [
    "AbortController",
    "AbortSignal",
    "ExecCall",
    "ExecContext",
    "ExecOptions",
    "ExecOutput",
    "ExecProcess",
    "ExitCode",
    "PtySize",
    "ResourceUsage",
    "Stderr",
    "Stdin",
    "Stdout",
    "User",
    "UserDatabase",
    "check_exec",
]
