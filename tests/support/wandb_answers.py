"""Answers of the double of the W&B server, one function for each operation that the client asks for by that name."""

# ruff: noqa: N802 the names are the client's

import json

ENTITY = "team"


class DeletedError(Exception):
    """Raised when a run is asked for that was deleted."""


class TakenError(Exception):
    """Raised when something is to be made under a name that is taken."""


def Viewer(server, given):
    teams = {"edges": [{"node": {"name": ENTITY}}]}
    person = {"id": "u1", "name": "person", "username": ENTITY, "entity": ENTITY, "email": "p@localhost"}
    return {"viewer": person | {"admin": False, "flags": "{}", "apiKeys": {"edges": []}, "teams": teams}}


GetViewer = GetDefaultEntity = Viewer


def Ping(server, given):
    return {"__typename": "Query"}


def ServerFeaturesQuery(server, given):
    return {"serverInfo": {"features": []}}


def OrgFeatureFlags(server, given):
    return {"organization": {"featureFlags": []}}


def OrganizationCoreWeaveOrganizationID(server, given):
    return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}


def UpsertSweep(server, given):
    name = given.get("id") or f"sweep{len(server.sweeps)}"
    server.add_sweep(name, given["config"])
    sweep = {"name": name, "project": _project(given.get("projectName"))}
    return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}


def SweepWithRuns(server, given):
    sweep = server.sweeps.get(given["sweep"])
    if sweep is None:
        return {"project": {"sweep": None}}
    unset = dict.fromkeys(
        ("description", "createdAt", "heartbeatAt", "updatedAt", "bestLoss", "controller", "scheduler")
    )
    told = {"id": given["sweep"], "name": given["sweep"], "method": sweep["config"]["method"], "state": "RUNNING"}
    told |= {"config": sweep["text"], "earlyStopJobRunning": False, "runs": {"edges": []}}
    return {"project": {"sweep": unset | told}}


def CreateAgent(server, given):
    name = f"agent{len(server.agents)}"
    server.agents[name] = given["sweep"]
    return {"createAgent": {"agent": {"id": name}}}


def Heartbeat(server, given):
    command = server.next_command(given["id"], list(json.loads(given["runState"] or "{}")))
    commands = [] if command is None else [command]
    return {"agentHeartbeat": {"agent": {"id": given["id"]}, "commands": json.dumps(commands)}}


def UpsertBucket(server, given):
    name = given.get("name") or given.get("id")
    if name in server.deleted:
        raise DeletedError(f"run {name} was previously created and deleted; try a new run name")
    new, run = name not in server.runs, server.run(name)
    told = ("displayName", "groupName", "jobType", "tags", "sweep", "project")
    run.update({key: given[key] for key in told if given.get(key) is not None}, state="running")
    run["config"] = json.loads(given["config"]) if given.get("config") else run["config"]
    run["summary"].update(json.loads(given.get("summaryMetrics") or "{}"))
    return {"upsertBucket": {"inserted": new, "bucket": _bucket(name, run)}}


def RunResumeStatus(server, given):
    run = server.runs.get(given["name"])
    if run is None or run["state"] == "pending":
        return {"model": {**_project(given.get("project")), "bucket": None}}
    return {"model": {**_project(run.get("project")), "bucket": _bucket(given["name"], run)}}


def RunState(server, given):
    state = "stopping" if given["run"] in server.stopping else server.run(given["run"])["state"]
    return {"project": {"run": {"id": given["run"], "state": state}}}


def CreateRunFiles(server, given):
    files = [{"name": name, "uploadUrl": f"{server.url}/storage/{given['run']}/{name}"} for name in given["files"]]
    return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}


def MarkRunFilesUploaded(server, given):
    return {"markRunFilesUploaded": {"success": True}}


def FetchArtifactDigestAlgorithm(server, given):
    return {"project": {"artifactType": None}}


def ArtifactType(server, given):
    return {"project": {"artifact": None}}


def XXHashDigestsEnabled(server, given):
    return {"entity": {"xxhashDigestsEnabled": False}}


def CreateArtifact(server, given):
    name = f"artifact{len(server.artifacts)}"
    server.artifacts[name] = given["input"] | {"state": "PENDING"}
    return {
        "createArtifact": {"artifact": {"id": name, "state": "PENDING", "artifactSequence": {"latestArtifact": None}}}
    }


def CreateArtifactManifest(server, given):
    return {"createArtifactManifest": {"artifactManifest": _manifest(server, given["artifactID"])}}


def UpdateArtifactManifest(server, given):
    return {"updateArtifactManifest": {"artifactManifest": _manifest(server, given["artifactManifestID"])}}


def CreateArtifactFiles(server, given):
    edges = [
        {
            "node": {
                "storagePath": f"artifacts/{file['name']}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "uploadUrl": f"{server.url}/storage/{file['artifactID']}/{file['name']}",
                "artifact": {"id": file["artifactID"]},
            }
        }
        for file in given["input"]["artifactFiles"]
    ]
    return {"createArtifactFiles": {"files": {"edges": edges}}}


def CommitArtifact(server, given):
    server.artifacts[given["artifactID"]]["state"] = "COMMITTED"
    return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": "d"}}}


def _manifest(server, name):
    return {"id": name, "file": {"id": name, "uploadHeaders": [], "uploadUrl": f"{server.url}/storage/{name}.json"}}


def _project(name):
    name = name or "uncategorized"
    return {"id": name, "name": name, "entity": {"id": ENTITY, "name": ENTITY}}


def _bucket(name, run):
    lines = [json.dumps(row) for row in run["history"]]
    return {
        "id": name,
        "name": name,
        "displayName": run.get("displayName") or name,
        "description": None,
        "notes": None,
        "tags": run.get("tags") or [],
        "config": json.dumps(run["config"]),
        "summaryMetrics": json.dumps(run["summary"]),
        "sweepName": run.get("sweep"),
        "project": _project(run.get("project")),
        "historyLineCount": len(lines),
        "logLineCount": 0,
        "eventsLineCount": 0,
        "historyTail": json.dumps(lines[-1:]),
        "eventsTail": "[]",
        "wandbConfig": json.dumps({"t": 1}),
    }
