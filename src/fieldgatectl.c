/*
 * fieldgatectl, the control tool: which command, and help. The commands are in control/.
 */
#include <stdio.h>
#include <string.h>

#include "control/commands.h"

static const char usage_text[] =
	"Usage: fieldgatectl COMMAND [options] [DIR]\n"
	"Looks at the journal of fieldgate(8), also while the daemon runs, and asks a daemon that "
	"runs.\n"
	"\n"
	"  status                  how brokers, journal, commands and clouds are\n"
	"  journal verify          read everything, say what is damaged or missing\n"
	"  journal dump            print the records\n"
	"  quarantine list         messages that nobody could take\n"
	"  quarantine show N       one of them, whole\n"
	"  quarantine retry N...   send them again; the daemon must run\n"
	"  quarantine drop N...    forget them; the daemon must run\n"
	"  roundtrip               send a reading up and a command down, and watch each hop\n"
	"\n"
	"journal verify, journal dump, quarantine list and quarantine show read files, also where "
	"no\n"
	"daemon runs. DIR is a state directory, the directory journal in it, or one of the lanes "
	"in\n"
	"that (main, alarm, quarantine). The others ask the daemon that runs with that state\n"
	"directory. --state DIR says the same for all; the default is /var/lib/fieldgate.\n"
	"\"fieldgatectl COMMAND --help\" tells the options of a command.\n"
	"\n"
	"      --version   print the version\n"
	"  -h, --help      print this text\n"
	"\n"
	"Exit status: 0 in order; 1 problems found, or it could not be done; 2 wrong arguments.\n";

static const char verify_text[] =
	"Usage: fieldgatectl journal verify [-v] [--json] [DIR]\n"
	"Reads every record of every segment and checks headers, checksums and sequence numbers.\n"
	"\n"
	"  -v, --verbose   a line for each segment, and for files that are set aside\n"
	"      --json      one JSON object a line\n"
	"      --state DIR the same as DIR (default /var/lib/fieldgate)\n"
	"\n"
	"Exit status: 0 in order (a torn tail is); 1 something is damaged, missing or cannot be "
	"read;\n"
	"2 wrong arguments.\n";

static const char dump_text[] =
	"Usage: fieldgatectl journal dump [options] [DIR]\n"
	"Prints a line for each record: sequence number, time, where the time is from, kind, "
	"device,\n"
	"stream, body. On a terminal lines end where it does.\n"
	"\n"
	"      --lane NAME       main, alarm or quarantine (default: all)\n"
	"      --from SEQ        from this sequence number on\n"
	"      --to SEQ          up to this one\n"
	"      --device PATTERN  of devices whose name matches (shell pattern: * ? [...])\n"
	"      --kind KIND       telemetry, attributes, presence, command-response, event, "
	"cursors,\n"
	"                        quarantined, settled, command, command-state\n"
	"      --limit N         no more than N records\n"
	"      --json            one JSON object a line\n"
	"      --full            whole lines on a terminal, too\n"
	"      --state DIR       the same as DIR (default /var/lib/fieldgate)\n"
	"\n"
	"Exit status: 0 done; 1 something in the range is damaged, missing or cannot be read;\n"
	"2 wrong arguments.\n";

static const char list_text[] =
	"Usage: fieldgatectl quarantine list [--json] [DIR]\n"
	"Prints a line for each message nobody could take: number, time, the link that refused it "
	"(or\n"
	"\"gateway\"), device or topic, attempts, size, reason.\n"
	"\n"
	"      --json      one JSON object a line, with the message in it\n"
	"      --state DIR the same as DIR (default /var/lib/fieldgate)\n"
	"\n"
	"Exit status: 0 done; 1 some could not be read; 2 wrong arguments.\n";

static const char show_text[] = "Usage: fieldgatectl quarantine show [--raw | --json] [DIR] N\n"
				"Prints all there is about message number N, and the message.\n"
				"\n"
				"      --raw       the bytes of the message and nothing else\n"
				"      --json      one JSON object\n"
				"      --state DIR the same as DIR (default /var/lib/fieldgate)\n"
				"\n"
				"Exit status: 0 done; 1 there is no such message, or it cannot be "
				"read; 2 wrong arguments.\n";

static const char retry_text[] =
	"Usage: fieldgatectl quarantine retry [options] N...\n"
	"       fieldgatectl quarantine retry [options] --all [--link NAME]\n"
	"Has the running daemon send messages again that were put aside: those a cloud refused to "
	"that\n"
	"cloud, those that no rule took through the rules of today. What is taken leaves the "
	"quarantine\n"
	"once it is on disk; what is refused again comes back to it under a new number.\n"
	"\n"
	"      --all       all there are\n"
	"      --link NAME only those that this cloud refused\n"
	"      --json      one JSON object a line\n"
	"      --state DIR the daemon's state directory (default /var/lib/fieldgate)\n"
	"\n"
	"Exit status: 0 done; 1 some were kept, or it could not be done; 2 wrong arguments.\n";

static const char drop_text[] =
	"Usage: fieldgatectl quarantine drop [options] N...\n"
	"       fieldgatectl quarantine drop [options] --all [--link NAME]\n"
	"Has the running daemon forget messages that were put aside, for good.\n"
	"\n"
	"      --all       all there are\n"
	"      --link NAME only those that this cloud refused\n"
	"      --json      one JSON object a line\n"
	"      --state DIR the daemon's state directory (default /var/lib/fieldgate)\n"
	"\n"
	"Exit status: 0 done; 1 some were kept, or it could not be done; 2 wrong arguments.\n";

static const char status_text[] =
	"Usage: fieldgatectl status [--json] [--state DIR]\n"
	"Asks the running daemon and prints a line for the journal, for each broker and cloud, for "
	"its\n"
	"devices and commands, with what was counted since it was started.\n"
	"\n"
	"      --json      one JSON object a line\n"
	"      --state DIR the daemon's state directory (default /var/lib/fieldgate)\n"
	"\n"
	"Exit status: 0 done; 1 no daemon runs there; 2 wrong arguments.\n";

static const char roundtrip_text[] =
	"Usage: fieldgatectl roundtrip --device NAME --account FILE [options]\n"
	"Publishes a reading as the device would, sees it arrive on disk and in the cloud, sends a "
	"command\n"
	"from there, and sees it reach the device and its answer come back. Prints a line for each "
	"hop.\n"
	"\n"
	"      --device NAME       the field device\n"
	"      --account FILE      url, and whom the cloud shall let in: see fieldgatectl(1)\n"
	"      --link NAME         the cloud; needed when there are several\n"
	"      --cloud-device NAME the device's name there, when it is not the one configured\n"
	"      --method NAME       the command to send; without it only the way up is tried\n"
	"      --params JSON       its parameters (default {})\n"
	"      --answer            answer in the device's place, where there is none yet\n"
	"      --value JSON        what the reading shall show, where its rule selects members\n"
	"      --payload TEXT      what to publish; {marker} in it becomes a number of its own\n"
	"      --topic TOPIC       where, together with --payload\n"
	"      --broker NAME       at which broker (default: the command's, else the first)\n"
	"      --timeout S         how long to wait for each hop (default 30)\n"
	"      --json              one JSON object a line\n"
	"      --config FILE       the daemon's configuration (default " FG_CONFIG_FILE ")\n"
	"      --plugin-dir DIR    where its plugins are\n"
	"      --state DIR         its state directory (default: as configured)\n"
	"\n"
	"Exit status: 0 every hop in order; 1 a hop failed, or it could not be done; 2 wrong "
	"arguments.\n";

static const struct {
	const char *group, *name;
	const char *help;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"journal", "verify", verify_text, fg_ctl_journal_verify},
	{"journal", "dump", dump_text, fg_ctl_journal_dump},
	{"quarantine", "list", list_text, fg_ctl_quarantine_list},
	{"quarantine", "show", show_text, fg_ctl_quarantine_show},
	{"quarantine", "retry", retry_text, fg_ctl_quarantine_retry},
	{"quarantine", "drop", drop_text, fg_ctl_quarantine_drop},
	{"status", NULL, status_text, fg_ctl_status},
	{"roundtrip", NULL, roundtrip_text, fg_ctl_roundtrip},
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static bool is_help(const char *word)
{
	return strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0;
}

static int print(const char *text)
{
	fputs(text, stdout);
	return fg_ctl_flush(FG_EXIT_OK);
}

static int unknown(const char *group, const char *name)
{
	bool is_group = false;

	if (group[0] == '-')
		return fg_ctl_usage("options stand behind the command: \"fieldgatectl status %s\"",
				    group);
	for (size_t i = 0; i < N_COMMANDS; i++)
		is_group = is_group || strcmp(commands[i].group, group) == 0;
	if (!is_group)
		return fg_ctl_usage("unknown command \"%s\"", group);
	if (!name)
		return fg_ctl_usage("%s: which command?", group);
	return fg_ctl_usage("%s: unknown command \"%s\"", group, name);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fputs(usage_text, stderr);
		return FG_EXIT_USAGE;
	}
	if (is_help(argv[1]))
		return print(usage_text);
	if (strcmp(argv[1], "--version") == 0)
		return print("fieldgatectl " FG_VERSION "\n");
	for (size_t i = 0; i < N_COMMANDS; i++) {
		int words = commands[i].name ? 2 : 1;

		if (argc < words + 1 || strcmp(argv[1], commands[i].group) != 0 ||
		    (words == 2 && strcmp(argv[2], commands[i].name) != 0))
			continue;
		for (int k = words + 1; k < argc && strcmp(argv[k], "--") != 0; k++)
			if (is_help(argv[k]))
				return print(commands[i].help);
		return commands[i].run(argc - words, argv + words);
	}
	if (argc > 2 && is_help(argv[2]))
		return print(usage_text);
	return unknown(argv[1], argc > 2 ? argv[2] : NULL);
}
