"""Where the sandbox is known to answer otherwise, case by case, and why that stays. A case that conforms must go."""

_OPEN = "nobody met it yet: the sandbox keeps what it is sent and leaves built-in kinds without a strict schema"
_DETAILS = "the Status is right, but its details are more or fewer"
_TABLE = "columns beyond name and age are there for the kinds that a user of the sandbox looks at"
_VERSIONS = "the sandbox keeps no old versions: an exact one that is not the newest is Expired, as after a compaction"
_NEGOTIATION = "a list asked for as one object, or the other way, is given in the right form instead of a 406"
_CONTROLLERS = "what controllers and the registration of kinds write comes in another order"
_TYPES = "the real server types CEL rules by the schema and checks defaults against them; the sandbox asks values only"
_BUILT_IN = "fields of built-in kinds that only their typed form has, or that admission plugins add"

KNOWN: dict[str, str] = {
    "objects: created in a media type that nobody knows": _DETAILS,
    "objects: replaced": _OPEN,
    "objects: unknown fields, strictly": _OPEN,
    "objects: an unknown field, dropped": _OPEN,
    "lists: versions": _VERSIONS,
    "lists: a version that was overwritten": _VERSIONS,
    "shapes: a Table of customresourcedefinitions": _TABLE,
    "shapes: a Table of resourcequotas": _TABLE,
    "shapes: as PartialObjectMetadataList": _NEGOTIATION,
    "shapes: as PartialObjectMetadata": _NEGOTIATION,
    "shapes: as Odd": _DETAILS,
    "watches: with bookmarks": "bookmarks come every half second in this sandbox, on a real server every minute",
    "watches: that begins with what there is": "sendInitialEvents is refused as an unknown option: clients then list",
    "deployments: a name that is too long": _DETAILS,
    "deployments: the status apart": _BUILT_IN,
    "others: a namespace": _DETAILS,
    "others: a node": _BUILT_IN,
    "others: a Lease": _BUILT_IN,
    "others: an Event": _BUILT_IN,
    "others: an autoscaler": _BUILT_IN,
    "others: rights": _BUILT_IN,
    "others: about itself": _BUILT_IN,
    "jobs: made, listed, shown": "a page of a list that ends with it says that there may be more",
    "jobs: patched": "a patch that leaves no object is a bad request, not an invalid one",
    "jobs: no such thing of theirs": "a subresource that a kind does not have is a plain 404, with no Status",
    "kinds: a new kind": _CONTROLLERS,
    "kinds: a rule of its own": _CONTROLLERS,
    "kinds: a rule that is none": _TYPES,
    "kinds: a rule about what is not there": _TYPES,
    "kinds: a definition of no version": _DETAILS,
    "kinds: a definition of nothing": _DETAILS,
}
