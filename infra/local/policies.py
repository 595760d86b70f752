"""Has parliament check each policy of a template: whether its actions exist, and fit its resources and conditions.

    policies.py TEMPLATE

Run by the Python of parliament's own environment, which brings PyYAML.
"""

import json
import pathlib
import re
import sys
from collections.abc import Iterator

import yaml
from parliament import analyze_policy_string, enhance_finding

ACCOUNT, REGION = "123456789012", "us-east-1"
# What stands for a resource of the template, in the form that its type has.
ARNS = {
    "AWS::DynamoDB::Table": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/name",
    "AWS::Events::EventBus": f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/name",
    "AWS::Events::Rule": f"arn:aws:events:{REGION}:{ACCOUNT}:rule/name",
    "AWS::Logs::LogGroup": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:name:*",
    "AWS::SecretsManager::Secret": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:name-abcdef",
    "AWS::Serverless::Function": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:name",
    "AWS::SNS::Topic": f"arn:aws:sns:{REGION}:{ACCOUNT}:name",
    "AWS::SQS::Queue": f"arn:aws:sqs:{REGION}:{ACCOUNT}:name",
}
# Parliament wants a resource of each kind that an action takes; here either will do, and agents are standard machines.
EITHER = {("states:DescribeExecution", "arn:*:states:*:*:express:*:*:*")}
# What stands for a parameter that is empty by default.
GIVEN = {"AgentKeyArns": [f"arn:aws:kms:{REGION}:{ACCOUNT}:key/01234567-89ab-cdef-0123-456789abcdef"]}
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackName": "stack",
    "AWS::URLSuffix": "amazonaws.com",
}


class Unresolved(Exception):
    """Something for which this file knows no stand-in."""


class Template:
    def __init__(self, path: pathlib.Path):
        self.document = yaml.load(path.read_text(), Loader)
        self.resources = self.document["Resources"]
        self.parameters = self.document["Parameters"]

    def policies(self) -> Iterator[tuple[str, dict]]:
        for name, resource in self.resources.items():
            for place, document in documents(resource.get("Properties", {}), name):
                yield place, self.resolved(document)

    def resolved(self, value):
        """The value as it would be deployed, with every condition met."""
        match value:
            case {"Ref": name}:
                return self.ref(name)
            case {"Fn::GetAtt": name}:
                return self.arn(name.split(".")[0])
            case {"Fn::Sub": text}:
                return re.sub(r"\$\{([^}]+)\}", lambda found: self.substituted(found[1]), text)
            case {"Fn::If": [_, then, _]}:
                return self.resolved(then)
            case dict():
                if unknown := [key for key in value if key.startswith("Fn::")]:
                    raise Unresolved(unknown[0])
                return {key: self.resolved(part) for key, part in value.items()}
            case list():
                return [self.resolved(part) for part in value]
        return value

    def substituted(self, name: str) -> str:
        return self.arn(name.split(".")[0]) if "." in name else self.ref(name)

    def ref(self, name: str) -> str | list[str]:
        if name in PSEUDO:
            return PSEUDO[name]
        if name in GIVEN:
            return GIVEN[name]
        if name in self.parameters:
            return str(self.parameters[name]["Default"]) or "value"
        # Of these, a reference is the ARN.
        if self.resources[name]["Type"] in ("AWS::SecretsManager::Secret", "AWS::SNS::Topic"):
            return self.arn(name)
        return "name"

    def arn(self, name: str) -> str:
        kind = self.resources[name]["Type"]
        if kind not in ARNS:
            raise Unresolved(f"the ARN of a {kind}")
        return ARNS[kind]


class Loader(yaml.SafeLoader):
    """Reads `!Ref name` as {"Ref": "name"}, and so on."""


def intrinsic(loader: Loader, tag: str, node: yaml.Node) -> dict:
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


Loader.add_multi_constructor("!", intrinsic)


def documents(value, place: str) -> Iterator[tuple[str, dict]]:
    """Every policy below a value: whatever has statements, but for a role's own, which names no resource."""
    if isinstance(value, dict):
        if "Statement" in value:
            yield place, value
            return
        for name, part in value.items():
            if name == "AssumeRolePolicyDocument":
                continue
            yield from documents(part, f"{place}.{name}")
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from documents(part, f"{place}.{number}")


def findings(policy: dict) -> Iterator[str]:
    for finding in analyze_policy_string(json.dumps(policy)).findings:
        if is_of_either(finding.detail):
            continue
        finding = enhance_finding(finding)
        yield f"{finding.issue}: {finding.title} {finding.detail}"


def is_of_either(detail) -> bool:
    details = detail if isinstance(detail, list) else [detail]
    return all(isinstance(one, dict) and (one.get("action"), one.get("required_format")) in EITHER for one in details)


def main() -> None:
    template, checked, found = pathlib.Path(sys.argv[1]), 0, []
    for place, policy in Template(template).policies():
        checked += 1
        found += [f"{template}: {place}: {finding}" for finding in findings(policy)]
    if found:
        sys.exit("\n".join(found))
    print(f"  {checked} policies, no findings")


if __name__ == "__main__":
    main()
