"""What is the matter with a server, in words."""

from __future__ import annotations

from sammed3d.errors import ModelError
from sammed3d.network_errors import in_words
from sammed3d.predictors.transport import TIMEOUTS, Reply, checked_url, is_from_server, session
from sammed3d.wire import messages
from sammed3d.wire.arrays import WireError
from sammed3d.wire.messages import ModelInfo
from sammed3d.wire.strict_json import JsonError, decode_object

_KNOWN = {
    401: "the key was refused. Enter the key that the administrator gave you.",
    413: "the patch is larger than the server accepts (--max-body).",
    421: "the server does not answer to this host name; the administrator can allow it with --host-name.",
    426: "server and program speak different protocols. Update the older of the two.",
}


_OF_PROXIES = {
    401: "a proxy in front of it asks for a password of its own. Its administrator has to let the key pass "
    "(header Authorization).",
    407: "the proxy of this network asks for a password. Pass it by (--no-proxy, or the settings of the module).",
    413: "a proxy in front of it takes no bodies of this size. Its administrator can allow 64 MB (in nginx: "
    "client_max_body_size 64m).",
    **dict.fromkeys(
        (502, 503, 504), "a proxy answers, but has no answer of the server itself. Is the server running behind it?"
    ),
}
NO_KEY = (
    "no key came. Enter the key that the administrator gave you; if you did, a proxy in between takes it out "
    "(header Authorization)."
)


def explain(reply: Reply) -> str:
    """Say in a sentence why a server, or a proxy in front of it, refused."""
    if not is_from_server(reply) and reply.status in _OF_PROXIES:
        return f"{_OF_PROXIES[reply.status]} (HTTP {reply.status})"
    if reply.status == 401 and reply.headers.get(messages.MISSING_HEADER) == messages.MISSING_KEY:
        return NO_KEY
    if reply.status == 426 and (detail := _detail(reply)):
        return detail
    if reply.status in _KNOWN:
        return _KNOWN[reply.status]
    if reply.status == 429:
        return f"{_detail(reply) or 'The server is busy.'} Try again {_when(reply)}."
    if 300 <= reply.status < 400:
        return "it sends us to another address, where no image goes unasked. Enter the final address."
    if detail := _detail(reply):
        return f"{detail} (HTTP {reply.status})"
    return f"HTTP {reply.status}, and no explanation: is this a SAMMed3DSegment server?"


def _detail(reply: Reply) -> str:
    """Return the sentence of a refusal; "" where there is none."""
    try:
        detail = decode_object(reply.content).get("detail")
    except JsonError:
        return ""
    return detail if isinstance(detail, str) else ""


def _when(reply: Reply) -> str:
    seconds = reply.headers.get("Retry-After", "")
    return f"in {seconds} s" if seconds.isdigit() and int(seconds) > 1 else "in a moment"


def models_of(reply: Reply) -> list[ModelInfo]:
    """Read what a server says of itself.

    Raises:
        ModelError: it speaks another protocol, or is another kind of server.
    """
    try:
        info = decode_object(reply.content)
        protocol, models = info["protocol"], info["models"]
    except (JsonError, KeyError) as error:
        raise ModelError("This is no SAMMed3DSegment server. Check the address.") from error
    if protocol != messages.PROTOCOL:
        raise ModelError(messages.about_protocols(protocol, messages.PROTOCOL))
    try:
        return [ModelInfo.from_json(model) for model in models]
    except (WireError, TypeError) as error:
        raise ModelError(str(error)) from error


def served_models(url: str, key: str = "", verify: bool | str = True, proxies: bool = True) -> list[ModelInfo]:
    """Ask a server which models it serves; once, without patience.

    Raises:
        ModelError: it cannot be reached, cannot be trusted, or refuses; says what to do.
    """
    address = checked_url(url)
    try:
        response = session(key, verify, proxies).get(address + messages.INFO, timeout=TIMEOUTS, allow_redirects=False)
    except OSError as error:  # which those of `requests` are, too
        raise ModelError(f"{address}: {in_words(error, address)}") from error
    reply = Reply(response.status_code, response.headers, response.content)
    if reply.status != 200:
        raise ModelError(f"{address}: {explain(reply)}")
    try:
        return models_of(reply)
    except ModelError as error:
        raise ModelError(f"{address}: {error}") from error


def diagnose(url: str, key: str = "", verify: bool | str = True, proxies: bool = True) -> list[str]:
    """Test a server step by step; returns a line for each step, the last one says what to do if it failed."""
    try:
        address = checked_url(url)
        asking = session(key, verify, proxies)
    except ModelError as error:
        return [f"✗ {error}"]
    report = [f"✓ The address is well-formed: {address}"]
    encrypted = "encrypted" if address.startswith("https") else "NOT encrypted"
    steps = (
        (messages.LIVE, f"✓ Something answers; the connection is {encrypted}"),
        (messages.INFO, "✓ The key is accepted" if key else "✓ No key is needed"),
    )
    for path, success in steps:
        try:
            response = asking.get(address + path, timeout=TIMEOUTS, allow_redirects=False)
        except OSError as error:  # which those of `requests` are, too
            return [*report, f"✗ {in_words(error, address)}"]
        reply = Reply(response.status_code, response.headers, response.content)
        if reply.status != 200:
            return [*report, f"✗ {explain(reply)}"]
        report.append(success)
    try:
        models = [f"{model.title} ({model.device})" for model in models_of(reply)]
    except ModelError as error:
        return [*report, f"✗ {error}"]
    return [*report, f"✓ Models: {', '.join(models) or 'none'}"]
