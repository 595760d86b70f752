"""Registers the example agents of a deployed stack, and makes API keys.

    python infra/register.py --stack NAME agents
    python infra/register.py --stack NAME key --user U [--permission P ...] [--rate-limit N] [--days N]
"""

import argparse
import base64
import hashlib
import json
import pathlib
import secrets
import time
from decimal import Decimal

import boto3

AGENTS = pathlib.Path(__file__).with_name("agents") / "agents.json"
# What a caller needs who runs agents; `*:*` makes an administrator.
USER_PERMISSIONS = ["execute:*", "view:*", "cancel:*"]
DAY_MS = 86_400_000


def stack_outputs(session: boto3.Session, stack: str) -> dict[str, str]:
    (description,) = session.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in description.get("Outputs", [])}


def register_agents(session: boto3.Session, outputs: dict[str, str]) -> list[str]:
    """Writes a row for each example agent; a row that is there keeps what it has learnt meanwhile."""
    table = session.resource("dynamodb").Table(outputs["AgentsTable"])
    names = []
    for agent in json.loads(AGENTS.read_text(), parse_float=Decimal):
        name = agent.pop("agent_name")
        row = {"status": "active", "state_machine_arn": outputs[agent.pop("machine_output")], **agent}
        # Through placeholders, since several of these names are reserved words.
        table.update_item(
            Key={"agent_name": name},
            UpdateExpression="SET " + ", ".join(f"#{i} = :{i}" for i in range(len(row))),
            ExpressionAttributeNames={f"#{i}": attribute for i, attribute in enumerate(row)},
            ExpressionAttributeValues={f":{i}": value for i, value in enumerate(row.values())},
        )
        names.append(name)
    return names


def create_key(
    session: boto3.Session,
    outputs: dict[str, str],
    user: str,
    permissions: list[str],
    rate_limit: int = 60,
    days: int | None = None,
) -> str:
    """Returns the key, which is stored only as its hash."""
    key = "relay_" + base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    digest = hashlib.sha256(key.encode()).hexdigest()
    now = time.time_ns() // 1_000_000
    row = {
        "api_key_hash": digest,
        "key_id": digest[:8],
        "user_id": user,
        "permissions": permissions,
        "rate_limit": rate_limit,
        "created_at": now,
    }
    if days is not None:
        row["expires_at"] = now + days * DAY_MS
    session.resource("dynamodb").Table(outputs["ApiKeysTable"]).put_item(Item=row)
    return key


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", required=True, help="name of the deployed stack")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("agents", help="register the example agents")
    key = commands.add_parser("key", help="make an API key and print it once")
    key.add_argument("--user", required=True, help="whom executions started with this key belong to")
    key.add_argument("--permission", action="append", help="action:resource, may be repeated")
    key.add_argument("--rate-limit", type=int, default=60, help="starts a minute (default 60)")
    key.add_argument("--days", type=int, help="days until it expires (default: never)")
    arguments = parser.parse_args()

    session = boto3.Session()
    outputs = stack_outputs(session, arguments.stack)
    if arguments.command == "agents":
        print("Registered " + ", ".join(register_agents(session, outputs)) + ".")
    else:
        permissions = arguments.permission or USER_PERMISSIONS
        print(create_key(session, outputs, arguments.user, permissions, arguments.rate_limit, arguments.days))


if __name__ == "__main__":
    main()
