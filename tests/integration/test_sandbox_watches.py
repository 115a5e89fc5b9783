"""Watches of the sandbox over HTTP: replay, selections, bookmarks, what was forgotten, how they end."""

import pytest

from apportion.sandbox import pod
from integration.bare_client import CONFIGS, config, next_event


async def test_a_watch_replays_and_goes_on(api):
    _, listed = await api("GET", CONFIGS)
    await api("POST", CONFIGS, config("a", x="1"))
    await api("POST", CONFIGS, config("b"))
    async with api.watch(CONFIGS, resourceVersion=listed["metadata"]["resourceVersion"]) as events:
        seen = [await next_event(events), await next_event(events)]
        assert [(each["type"], each["object"]["metadata"]["name"]) for each in seen] == [("ADDED", "a"), ("ADDED", "b")]
        await api("DELETE", f"{CONFIGS}/a")
        deleted = await next_event(events)
        assert deleted["type"] == "DELETED"
        revisions = [int(each["object"]["metadata"]["resourceVersion"]) for each in (*seen, deleted)]
        assert revisions == sorted(set(revisions))


async def test_an_object_that_leaves_the_selection_is_deleted_from_the_watch(api):
    await api("POST", CONFIGS, config("a"))
    async with api.watch(CONFIGS, labelSelector="name=a") as events:
        assert (await next_event(events))["type"] == "ADDED"
        await api.patch(f"{CONFIGS}/a", {"metadata": {"labels": {"name": "other"}}}, "merge")
        assert (await next_event(events))["type"] == "DELETED"
        await api.patch(f"{CONFIGS}/a", {"metadata": {"labels": {"name": "a"}}}, "merge")
        assert (await next_event(events))["type"] == "ADDED"


async def test_bookmarks_carry_the_present_revision(api, sandbox):
    async with api.watch(CONFIGS, allowWatchBookmarks="true") as events:
        sandbox.store.apply(pod("elsewhere"))
        bookmark = await next_event(events, "BOOKMARK")
        assert int(bookmark["object"]["metadata"]["resourceVersion"]) <= sandbox.store.storage.revision
        assert bookmark["object"]["kind"] == "ConfigMap"


async def test_a_watch_from_before_the_compaction_gets_410_as_an_event(api, sandbox):
    await api("POST", CONFIGS, config("a"))
    sandbox.compact()
    async with api.watch(CONFIGS, resourceVersion="2") as events:
        error = await next_event(events)
        assert error["type"] == "ERROR"
        assert (error["object"]["code"], error["object"]["reason"]) == (410, "Expired")
        with pytest.raises(AssertionError, match="ended"):
            await next_event(events)


async def test_a_list_at_a_forgotten_revision_gets_410(api, sandbox):
    await api("POST", CONFIGS, config("a"))
    sandbox.compact()
    query = {"resourceVersion": "2", "resourceVersionMatch": "Exact"}
    code, refused = await api("GET", CONFIGS, params=query)
    assert (code, refused["reason"]) == (410, "Expired")


async def test_a_watch_ends_by_itself_at_its_timeout_and_when_the_server_ends_it(api, sandbox):
    async with api.watch(CONFIGS, timeoutSeconds="1") as events:
        assert [event async for event in events] == []
    async with api.watch(CONFIGS) as events:
        sandbox.end_watches()
        assert [event async for event in events] == []


async def test_lists_that_stream_without_saying_from_when_and_future_revisions_are_refused(api):
    code, refused = await api("GET", CONFIGS, params={"watch": "1", "sendInitialEvents": "true"})
    assert (code, refused["reason"]) == (422, "Invalid")
    code, refused = await api("GET", CONFIGS, params={"resourceVersion": "999999"})
    assert (code, refused["reason"]) == (504, "Timeout")
