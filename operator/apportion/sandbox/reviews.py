"""Rights: everything is allowed but what a test takes away, and the reviews say the same as the requests."""

from dataclasses import dataclass, field
from typing import Any

from apportion.sandbox.errors import forbidden
from apportion.sandbox.requests import Target
from apportion.sandbox.trees import Obj

USER = "sandbox:admin"
Right = tuple[str, str, str]
"""(verb, group, resource), the resource with its subresource: ("patch", "apps", "deployments/scale")."""


@dataclass
class Access:
    """`deny` holds the rights that are taken away; it may change at any time."""

    deny: set[Right] = field(default_factory=set)

    def check(self, verb: str, target: Target) -> None:
        """Raise 403 Forbidden for a right that is taken away."""
        resource = target.resource
        full = f"{resource.plural}/{target.subresource}" if target.subresource else resource.plural
        if (verb, resource.group, full) not in self.deny:
            return
        scope = f'in the namespace "{target.namespace}"' if target.namespace else "at the cluster scope"
        why = f'User "{USER}" cannot {verb} resource "{full}" in API group "{resource.group}" {scope}'
        raise forbidden(resource, target.name, why)

    def allows(self, attributes: Obj) -> bool:
        resource = attributes.get("resource", "")
        if attributes.get("subresource"):
            resource = f"{resource}/{attributes['subresource']}"
        return (attributes.get("verb", ""), attributes.get("group", ""), resource) not in self.deny


def review(access: Access, group: str, plural: str, body: Any) -> Obj | None:
    """The answer to a POST to one of the review resources; None when it is not one."""
    spec = (body or {}).get("spec") or {} if isinstance(body, dict) else {}
    if (group, plural) == ("authorization.k8s.io", "selfsubjectaccessreviews"):
        allowed = access.allows(spec.get("resourceAttributes") or {})
        status: Obj = {"allowed": allowed, **({} if allowed else {"reason": "taken away by the sandbox's deny set"})}
        kind = "SelfSubjectAccessReview"
    elif (group, plural) == ("authorization.k8s.io", "selfsubjectrulesreviews"):
        rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
        status = {"resourceRules": [rule], "nonResourceRules": [], "incomplete": bool(access.deny)}
        kind = "SelfSubjectRulesReview"
    elif (group, plural) == ("authentication.k8s.io", "selfsubjectreviews"):
        status, kind = {"userInfo": {"username": USER, "groups": ["system:masters"]}}, "SelfSubjectReview"
    else:
        return None
    return {"kind": kind, "apiVersion": f"{group}/v1", "metadata": {}, "spec": spec, "status": status}
