"""Refusals in the words of the real API server, as Status objects."""

from dataclasses import dataclass

from apportion.sandbox.kinds import Resource
from apportion.sandbox.trees import Obj, compact


@dataclass(frozen=True)
class Cause:
    """One fault in an object: where, which sort (FieldValueInvalid, ...), and the sentence after the field's name."""

    field: str
    reason: str
    message: str

    @property
    def text(self) -> str:
        return f"{self.field}: {self.message}"

    def to_status(self) -> Obj:
        return {"reason": self.reason, "message": self.message, "field": self.field}


def shown(value: object) -> str:
    """A value as Go's field errors print it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, str):
        return '"' + value.replace('"', '\\"') + '"'
    if isinstance(value, dict | list):
        return compact(value).decode()
    return str(value)


def invalid_value(field: str, value: object, why: str) -> Cause:
    return Cause(field, "FieldValueInvalid", f"Invalid value: {shown(value)}: {why}")


def required_value(field: str, why: str = "") -> Cause:
    return Cause(field, "FieldValueRequired", f"Required value: {why}" if why else "Required value")


def forbidden_value(field: str, why: str) -> Cause:
    return Cause(field, "FieldValueForbidden", f"Forbidden: {why}")


def not_supported(field: str, value: object, known: list[str]) -> Cause:
    listed = ", ".join(f'"{word}"' for word in known)
    return Cause(field, "FieldValueNotSupported", f"Unsupported value: {shown(value)}: supported values: {listed}")


class StatusError(Exception):
    """A request that was refused; `status()` is what goes over the wire."""

    def __init__(self, code: int, reason: str, message: str, details: Obj | None = None):
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def status(self) -> Obj:
        body: Obj = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            body["reason"] = self.reason
        if self.details is not None:
            body["details"] = self.details
        body["code"] = self.code
        return body


def _details(resource: Resource, name: str, kind: str) -> Obj:
    details: Obj = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = kind
    return details


class Undecodable(StatusError):
    """What the real server could not decode into its type: 400, but 422 if a patch has made it."""

    def __init__(self, message: str) -> None:
        super().__init__(400, "BadRequest", message)


class PageNotFound(StatusError):
    """A path below which no part of the server listens: no Status is sent, but a line of text."""

    def __init__(self) -> None:
        super().__init__(404, "NotFound", "404 page not found\n", {})


def options(kind: str, *causes: Cause) -> StatusError:
    """Refused options of a request: CreateOptions, ListOptions, DeleteOptions ..."""
    texts = [cause.text for cause in causes]
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = {"group": "meta.k8s.io", "kind": kind, "causes": [cause.to_status() for cause in causes]}
    return StatusError(422, "Invalid", f'{kind}.meta.k8s.io "" is invalid: {listed}', details)


def bad_patch(why: str) -> StatusError:
    """A patch whose result is not of the type of its object."""
    cause = invalid_value("patch", None, why)
    return StatusError(422, "Invalid", f' "" is invalid: {cause.text}', {"causes": [cause.to_status()]})


def internal(message: str) -> StatusError:
    return StatusError(500, "", message)


def not_found(resource: Resource, name: str) -> StatusError:
    return StatusError(
        404, "NotFound", f'{resource.qualified} "{name}" not found', _details(resource, name, resource.plural)
    )


def unknown_word(word: str) -> StatusError:
    return StatusError(404, "NotFound", f'the server doesn\'t have a resource type "{word}"', {})


def path_not_found() -> StatusError:
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: Resource, name: str) -> StatusError:
    return StatusError(
        409,
        "AlreadyExists",
        f'{resource.qualified} "{name}" already exists',
        _details(resource, name, resource.plural),
    )


def conflict(
    resource: Resource,
    name: str,
    why: str = "the object has been modified; please apply your changes to the latest version and try again",
) -> StatusError:
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return StatusError(409, "Conflict", message, _details(resource, name, resource.plural))


def invalid(resource: Resource, name: str, causes: list[Cause]) -> StatusError:
    texts = [cause.text for cause in causes]
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    details = _details(resource, name, resource.kind)
    details["causes"] = [cause.to_status() for cause in causes]
    return StatusError(422, "Invalid", f'{kind} "{name}" is invalid: {listed}', details)


def forbidden(resource: Resource, name: str, why: str) -> StatusError:
    subject = f'{resource.qualified} "{name}"' if name else resource.qualified
    return StatusError(403, "Forbidden", f"{subject} is forbidden: {why}", _details(resource, name, resource.plural))


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def expired(message: str) -> StatusError:
    return StatusError(410, "Expired", message)


def rejected_patch() -> StatusError:
    """What a JSON Patch that does not apply gets, a failed `test` included; the real server names no cause either."""
    return StatusError(422, "Invalid", "the server rejected our request due to an error in our request", {})


def method_not_allowed() -> StatusError:
    return StatusError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def unsupported_media_type(message: str) -> StatusError:
    return StatusError(415, "UnsupportedMediaType", message, {})


def not_acceptable(accepted: str) -> StatusError:
    message = f"only the following media types are accepted: {accepted}"
    return StatusError(406, "NotAcceptable", message, {})
