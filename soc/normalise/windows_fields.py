"""What the Windows parser knows of fields: system names, flat shippers' names, and the ECS copies per event.

Content only, no code path of its own; names on the left are the source's, on the right ours.
"""
from __future__ import annotations

from typing import Final

__all__ = ["COPIES", "FLAT_SYSTEM", "OUTCOMES", "SHIPPER"]

FLAT_SYSTEM: Final[dict[str, str]] = {
    "EventID": "winlog.event_id",
    "Channel": "winlog.channel",
    "SourceName": "winlog.provider_name",
    "Provider_Name": "winlog.provider_name",
    "ProviderGuid": "winlog.provider_guid",
    "Provider_Guid": "winlog.provider_guid",
    "Hostname": "winlog.computer_name",
    "Computer": "winlog.computer_name",
    "RecordNumber": "winlog.record_id",
    "EventRecordID": "winlog.record_id",
    "Task": "winlog.task",
    "Category": "winlog.task_name",
    "Opcode": "winlog.opcode",
    "Keywords": "winlog.keywords",
    "Level": "winlog.level",
    "Version": "winlog.version",
    "ExecutionProcessID": "winlog.process.pid",
    "ThreadID": "winlog.process.thread.id",
    "Execution_ProcessID": "winlog.process.pid",
    "Execution_ThreadID": "winlog.process.thread.id",
    "UserID": "winlog.user.identifier",
    "AccountType": "winlog.user.type",
    "ActivityID": "winlog.activity_id",
    "RelatedActivityID": "winlog.related_activity_id",
    "Message": "message",
    "tags": "tags",
}
"""Keys of flat Windows JSON that are not event data."""

SHIPPER: Final = (
    "@version", "ERROR_EVT_UNRESOLVED", "EventReceivedTime", "EventTime", "EventTypeOrignal", "OpcodeValue", "Severity",
    "SeverityValue", "SourceModuleName", "SourceModuleType", "TimeCreated", "@timestamp", "host", "port",
)
"""Keys the shipper adds about itself; kept under ``nxlog.``."""

_SYSMON_PROCESS: Final = (
    ("Image", "process.executable"),
    ("ProcessId", "process.pid"),
    ("ProcessGuid", "process.entity_id"),
    ("User", "user"),
)
_SUBJECT: Final = (("SubjectUserName", "user.name"), ("SubjectDomainName", "user.domain"), ("SubjectUserSid", "user.id"))
_TARGET: Final = (("TargetUserName", "user.name"), ("TargetDomainName", "user.domain"), ("TargetUserSid", "user.id"))
_FROM: Final = (("IpAddress", "source.ip"), ("IpPort", "source.port"), ("WorkstationName", "source.domain"),
                ("ProcessName", "process.executable"), ("ProcessId", "process.pid"))

COPIES: Final[dict[tuple[str, str], tuple[tuple[str, str], ...]]] = {
    ("sysmon", "*"): _SYSMON_PROCESS,
    ("sysmon", "1"): (
        *_SYSMON_PROCESS,
        ("CommandLine", "process.command_line"),
        ("CurrentDirectory", "process.working_directory"),
        ("ParentImage", "process.parent.executable"),
        ("ParentCommandLine", "process.parent.command_line"),
        ("ParentProcessId", "process.parent.pid"),
        ("Hashes", "process.hash."),
    ),
    ("sysmon", "3"): (
        *_SYSMON_PROCESS,
        ("SourceIp", "source.ip"),
        ("SourcePort", "source.port"),
        ("DestinationIp", "destination.ip"),
        ("DestinationPort", "destination.port"),
        ("DestinationHostname", "destination.domain"),
        ("Protocol", "network.transport"),
    ),
    ("sysmon", "8"): (("SourceImage", "process.executable"), ("SourceProcessId", "process.pid"), ("SourceUser", "user")),
    ("sysmon", "10"): (("SourceImage", "process.executable"), ("SourceProcessId", "process.pid"), ("SourceUser", "user")),
    ("sysmon", "11"): (*_SYSMON_PROCESS, ("TargetFilename", "file.path")),
    ("sysmon", "2"): (*_SYSMON_PROCESS, ("TargetFilename", "file.path")),
    ("sysmon", "7"): (*_SYSMON_PROCESS, ("ImageLoaded", "file.path")),
    ("sysmon", "6"): (("ImageLoaded", "file.path"),),
    ("sysmon", "12"): (*_SYSMON_PROCESS, ("TargetObject", "registry.path")),
    ("sysmon", "13"): (*_SYSMON_PROCESS, ("TargetObject", "registry.path")),
    ("sysmon", "14"): (*_SYSMON_PROCESS, ("TargetObject", "registry.path")),
    ("sysmon", "15"): (*_SYSMON_PROCESS, ("TargetFilename", "file.path")),
    ("sysmon", "17"): (*_SYSMON_PROCESS, ("PipeName", "file.name")),
    ("sysmon", "18"): (*_SYSMON_PROCESS, ("PipeName", "file.name")),
    ("sysmon", "22"): (*_SYSMON_PROCESS, ("QueryName", "dns.question.name")),
    ("sysmon", "23"): (*_SYSMON_PROCESS, ("TargetFilename", "file.path")),
    ("sysmon", "26"): (*_SYSMON_PROCESS, ("TargetFilename", "file.path")),
    ("sysmon", "29"): (*_SYSMON_PROCESS, ("TargetFilename", "file.path")),
    ("security", "*"): (*_SUBJECT, ("IpAddress", "source.ip"), ("IpPort", "source.port"), ("ProcessName", "process.executable"),
                        ("ProcessId", "process.pid")),
    ("security", "4624"): (*_TARGET, *_FROM),
    ("security", "4625"): (*_TARGET, *_FROM),
    ("security", "4634"): _TARGET,
    ("security", "4647"): _TARGET,
    ("security", "4768"): (*_TARGET, *_FROM),
    ("security", "4769"): (*_TARGET, *_FROM),
    ("security", "4771"): (*_TARGET, *_FROM),
    ("security", "4776"): (("TargetUserName", "user.name"), ("Workstation", "source.domain")),
    ("security", "4688"): (
        *_SUBJECT,
        ("NewProcessName", "process.executable"),
        ("NewProcessId", "process.pid"),
        ("CommandLine", "process.command_line"),
        ("ParentProcessName", "process.parent.executable"),
        ("ProcessId", "process.parent.pid"),
    ),
    ("security", "4657"): (*_SUBJECT, ("ProcessName", "process.executable"), ("ProcessId", "process.pid"),
                           ("ObjectName", "registry.path")),
    ("security", "4663"): (*_SUBJECT, ("ProcessName", "process.executable"), ("ProcessId", "process.pid"),
                           ("ObjectName", "file.path")),
    ("security", "5156"): (
        ("Application", "process.executable"),
        ("ProcessID", "process.pid"),
        ("SourceAddress", "source.ip"),
        ("SourcePort", "source.port"),
        ("DestAddress", "destination.ip"),
        ("DestPort", "destination.port"),
    ),
    ("security", "5158"): (("Application", "process.executable"), ("ProcessId", "process.pid"),
                           ("SourceAddress", "source.ip"), ("SourcePort", "source.port")),
    ("security", "5140"): (*_SUBJECT, ("IpAddress", "source.ip"), ("IpPort", "source.port"), ("ShareName", "file.path")),
    ("security", "5145"): (*_SUBJECT, ("IpAddress", "source.ip"), ("IpPort", "source.port"), ("ShareName", "file.path")),
    ("powershell", "4104"): (("Path", "file.path"),),
    ("taskscheduler", "*"): (("UserContext", "user"),),
    ("system", "7045"): (("ImagePath", "process.executable"), ("ServiceName", "service.name")),
    ("windefend", "*"): (("Path", "file.path"), ("ProcessName", "process.executable")),
}
"""(Sigma service, event id) -> what is copied into ECS.

Target "user" splits DOMAIN\\name; "process.hash." splits MD5=…,SHA256=…"""

OUTCOMES: Final[dict[tuple[str, str], tuple[str, str, str]]] = {
    ("security", "4624"): ("authentication", "logged-in", "success"),
    ("security", "4625"): ("authentication", "logon-failed", "failure"),
    ("security", "4634"): ("authentication", "logged-out", "success"),
    ("security", "4647"): ("authentication", "logged-out", "success"),
    ("security", "4648"): ("authentication", "logged-in-explicit", "success"),
    ("security", "4688"): ("process", "created-process", "success"),
    ("security", "4720"): ("iam", "added-user-account", "success"),
    ("security", "4726"): ("iam", "deleted-user-account", "success"),
    ("security", "4728"): ("iam", "added-member-to-group", "success"),
    ("security", "4732"): ("iam", "added-member-to-group", "success"),
    ("security", "4740"): ("iam", "locked-out-user-account", "success"),
    ("security", "4771"): ("authentication", "kerberos-preauth-failed", "failure"),
    ("security", "1102"): ("iam", "audit-log-cleared", "success"),
    ("system", "104"): ("configuration", "event-log-cleared", "success"),
    ("system", "7045"): ("configuration", "service-installed", "success"),
    ("sysmon", "1"): ("process", "Process creation", "success"),
    ("sysmon", "3"): ("network", "Network connection detected", "success"),
    ("sysmon", "5"): ("process", "Process terminated", "success"),
    ("sysmon", "11"): ("file", "File created", "success"),
    ("sysmon", "22"): ("network", "Dns query", "success"),
}
"""(Sigma service, event id) -> event.category, event.action, event.outcome."""
