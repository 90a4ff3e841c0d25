"""Answers of the double of the W&B server to who reads a project, and to who saves views, reports and charts in it."""

# ruff: noqa: N802 the names are the client's

import json

from support.wandb_answers import ENTITY, TakenError

DAY = "2026-01-01T00:00:00Z"


def Runs(server, given):
    if given["project"] not in _projects(server):
        return {"project": None}
    names = [name for name, run in server.runs.items() if run.get("project") == given["project"]]
    edges = [{"cursor": name, "node": _node(server, name)} for name in names]
    told = {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}
    return {"project": {"internalId": "1", "runCount": len(names), "readOnly": False, "runs": told}}


def ArtifactMembershipByName(server, given):
    collection = given["name"].partition(":")[0]
    found = [name for name, one in _artifacts(server, given["project"]) if _collection(one) == collection]
    if not found:
        return {"project": {"artifactCollectionMembership": None}}
    source = {"__typename": "ArtifactSequence", "name": collection, "project": _project(given["project"])}
    artifact = {"__typename": "Artifact", "id": found[-1], "artifactSequence": source, "versionIndex": 0}
    artifact |= {"artifactType": {"name": server.artifacts[found[-1]]["artifactTypeName"]}, "state": "COMMITTED"}
    artifact |= {"size": 1, "digest": "d", "digestAlgorithm": "MANIFEST_MD5", "fileCount": 1, "createdAt": DAY}
    absent = ("description", "metadata", "historyStep", "commitHash", "updatedAt")
    artifact |= dict.fromkeys(absent) | {"ttlDurationSeconds": -1, "ttlIsInherited": False, "tags": []}
    told = {"__typename": "ArtifactCollectionMembership", "id": found[-1], "versionIndex": 0, "createdAt": DAY}
    told |= {"aliases": [], "artifactCollection": source, "artifact": artifact}
    return {"project": {"artifactCollectionMembership": told}}


def FetchArtifactManifest(server, given):
    address = f"{server.url}/storage/{given['id']}.json"
    return {"artifact": {"currentManifest": {"file": {"directUrl": address}}}}


def GetArtifactMembershipFileUrls(server, given):
    name = [name for name, one in _artifacts(server, given["project"]) if _collection(one) == given["collection"]][-1]
    places = server.root / "storage" / name
    files = [str(path.relative_to(places)) for path in sorted(places.rglob("*")) if path.is_file()]
    nodes = [{"__typename": "File", "name": file, "directUrl": f"{server.url}/storage/{name}/{file}"} for file in files]
    told = {"pageInfo": {"endCursor": None, "hasNextPage": False}, "edges": [{"node": node} for node in nodes]}
    collection = {"__typename": "ArtifactSequence", "artifactMembership": {"files": told}}
    return {"project": {"artifactCollection": collection}}


def GetProjects(server, given):
    more = {"createdAt": DAY, "isBenchmark": False, "user": None}
    edges = [{"cursor": name, "node": _project(name) | more} for name in _projects(server)]
    return {"models": {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}}


def View(server, given):
    """The saved views of a type, all or those of one name."""
    if (given.get("projectName") or given["project"]) not in _projects(server):
        return {"project": None}
    found = [one for one in server.views.values() if one["type"] == (given.get("viewType") or "runs")]
    found = [one for one in found if given.get("viewName") in (None, one["name"])]
    page = {"endCursor": None, "hasNextPage": False}
    return {"project": {"allViews": {"edges": [{"node": one, "cursor": one["id"]} for one in found], "pageInfo": page}}}


def upsertView(server, given):
    """Change the view of an id; without one, make another."""
    new = not given.get("id")
    name = f"view{len(server.views)}" if new else given["id"]
    told = {key: given[key] for key in ("type", "name", "displayName", "description", "spec")}
    project = {"id": "p", "name": given["projectName"], "entityName": given["entityName"]}
    server.views[name] = told | {"id": name, "updatedAt": DAY, "createdAt": DAY, "project": project, "user": None}
    return {"upsertView": {"view": server.views[name], "inserted": new}}


ProjectViews, UpsertView2 = View, upsertView


def CreateCustomChart(server, given):
    place = f"{given['entity']}/{given['chartName']}"
    if place in server.charts:
        raise TakenError(f"a chart {place} exists")
    server.charts[place] = json.loads(given["spec"])
    return {"createCustomChart": {"chart": {"id": place}}}


def _collection(artifact):
    return artifact["artifactCollectionName"]


def _artifacts(server, project):
    return [(name, one) for name, one in server.artifacts.items() if one["projectName"] == project]


def _projects(server):
    return sorted({run["project"] for run in server.runs.values() if run.get("project")})


def _project(name):
    return {"id": name, "internalId": "1", "name": name, "entityName": ENTITY, "entity": {"name": ENTITY}}


def _node(server, name):
    run = server.runs[name]
    told = {"id": name, "projectId": "1", "name": name, "displayName": run.get("displayName") or name}
    told |= {"state": run["state"], "group": run.get("groupName"), "jobType": run.get("jobType")}
    told |= {"config": json.dumps(run["config"]), "summaryMetrics": json.dumps(run["summary"]), "tags": []}
    told |= {"historyLineCount": len(run["history"]), "createdAt": DAY, "readOnly": False, "systemMetrics": "{}"}
    absent = ("sweepName", "commit", "heartbeatAt", "description", "notes", "historyKeys")
    return told | dict.fromkeys(absent) | {"user": {"name": "person", "username": ENTITY}}
