"""Where the sandbox is known to answer otherwise, case by case, and why that stays. A case that conforms must go.

First what it refuses where a real server would do it, then what it leaves out.
"""

KNOWN = {
    "lists: versions": "only the present is kept: an exact older version gets 410",
    "lists: a version that was overwritten": "only the present is kept: an exact older version gets 410",
    "jobs: patched": "a patch that changes the kind is refused with 400 instead of 422",
    "objects: replaced": "an empty map of data is kept; a typed server leaves it out",
    "objects: unknown fields, strictly": "built-in kinds have no schema here, so that no field is unknown",
    "objects: an unknown field, dropped": "built-in kinds have no schema here, so that no field is unknown",
    "shapes: a Table of customresourcedefinitions": "the sandbox's Table has fewer columns",
    "shapes: a Table of resourcequotas": "the sandbox's Table has fewer columns",
    "shapes: as PartialObjectMetadataList": "one object is given where a list was asked for, not 406",
    "shapes: as PartialObjectMetadata": "a list is given where one object was asked for, not 406",
    "deployments: a name that is too long": "the real server names also the labels that are made of it",
    "deployments: the status apart": "the figures of a status are its controller's; the sandbox does not check them",
    "others: a namespace": "a namespace that is deleted has a grace period of 0, which the real server leaves out",
    "others: a node": "a node is ready at once, without the first taint, and its kubelet tells its version later",
    "others: a Lease": "times are not parsed",
    "others: an Event": "absent times and sources are not written as null",
    "ends: a definition": "a definition goes at once, without the finalizer of its cleanup",
    "kinds: a rule about what is not there": "rules are not checked against the schema until they are asked",
    "kinds: a definition of no version": "the sandbox says less of a definition that it refuses",
    "kinds: a definition of nothing": "the sandbox says less of a definition that it refuses",
    "others: rights": "the sandbox has one user, without a uid",
    "others: about itself": "the version has no emulation",
    "jobs: no such thing of theirs": "a subresource that a definition does not have is no path here",
}
