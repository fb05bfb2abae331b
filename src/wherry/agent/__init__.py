"""The host side of the agent protocol: messages, and the link that carries them."""

from wherry.agent._frames import Ending, ExecFlag, ExecRequest, Exited, ProtocolError
from wherry.agent._link import AgentLink, ExecRefused, LinkClosed, RemoteProcess

__all__ = [
    "AgentLink",
    "Ending",
    "ExecFlag",
    "ExecRefused",
    "ExecRequest",
    "Exited",
    "LinkClosed",
    "ProtocolError",
    "RemoteProcess",
]
