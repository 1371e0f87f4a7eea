/* plans validate, apply, show: the cluster's plans, from a file. */
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "ctl/out.h"
#include "ctl/plans_diff.h"
#include "ctl/plans_file.h"
#include "ctl/rpc.h"

/* How long apply waits for every live node to show the new version, and how often it looks. Nodes
 * poll the store every second or so. */
#define WAIT_MS 5000
#define LOOK_EVERY_MS 100

/* Memory for the two plan sets and the mistakes: too large for a stack. */
struct workspace {
    struct plan_set wanted;
    struct plan_set current;
    struct plans_mistakes mistakes;
    uint8_t request[RPC_REQUEST_BYTES_MAX];
};

static struct workspace *workspace_create(const struct settings *settings) {
    struct workspace *workspace = malloc(sizeof *workspace);
    if (workspace == NULL) {
        out_failure(settings, "no memory");
    }
    return workspace;
}

/* --- validate ------------------------------------------------------------------------------- */

static void mistakes_print(const char *path, const struct plans_mistakes *mistakes) {
    for (uint32_t i = 0; i < mistakes->count; i++) {
        const struct plans_mistake *mistake = &mistakes->items[i];
        if (mistake->line == 0) {
            fprintf(stderr, "%s: %s\n", path, mistake->text);
        } else {
            fprintf(stderr, "%s:%u:%u: %s\n", path, mistake->line, mistake->column, mistake->text);
        }
    }
    if (mistakes->more) {
        fprintf(stderr, "%s: and more\n", path);
    }
}

static json_t *mistakes_json(const char *path, const struct plans_mistakes *mistakes) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < mistakes->count; i++) {
        const struct plans_mistake *mistake = &mistakes->items[i];
        json_array_append_new(list, json_pack("{s:i, s:i, s:s}", "line", mistake->line, "column",
                                              mistake->column, "text", mistake->text));
    }
    return json_pack("{s:o, s:b, s:o}", "file", json_of_text(bytes_of_text(path)), "valid", 0,
                     "mistakes", list);
}

static enum exit_code file_read(const struct invocation *invocation, struct workspace *workspace) {
    const char *path = invocation->arguments[0];
    if (plans_file_parse(path, &workspace->wanted, &workspace->mistakes)) {
        return EXIT_DONE;
    }
    mistakes_print(path, &workspace->mistakes);
    if (invocation->settings.json) {
        out_json(mistakes_json(path, &workspace->mistakes));
    }
    return EXIT_FILE;
}

static enum exit_code validate_run(const struct invocation *invocation) {
    struct workspace *workspace = workspace_create(&invocation->settings);
    if (workspace == NULL) {
        return EXIT_FILE;
    }
    enum exit_code code = file_read(invocation, workspace);
    const struct plan_set *set = &workspace->wanted;
    if (code == EXIT_DONE && invocation->settings.json) {
        out_json(json_pack("{s:o, s:b, s:i}", "file",
                           json_of_text(bytes_of_text(invocation->arguments[0])), "valid", 1,
                           "plans", (int)set->plan_count));
    } else if (code == EXIT_DONE) {
        printf("%svalid%s  %u plans, default %s\n", color_on(&invocation->settings, COLOR_GREEN),
               color_off(&invocation->settings), set->plan_count,
               set->default_at < 0 ? "none" : set->plans[set->default_at].name.text);
    }
    free(workspace);
    return code;
}

/* --- apply ---------------------------------------------------------------------------------- */

static enum exit_code current_ask(const struct settings *settings, struct plan_set *current) {
    struct rpc_answer answer;
    struct fault fault;
    enum exit_code code = rpc_ask_plain(settings, METHOD_PLANS_GET, &answer);
    if (code == EXIT_DONE) {
        struct reader reader = reader_of(answer.reply.result);
        if (plan_set_read(&reader, current, &fault) != CODE_OK) {
            out_failure(settings, "the plans in force cannot be read: %s", fault.text);
            code = EXIT_ANSWERED_ERROR;
        }
    }
    rpc_answer_fini(&answer);
    return code;
}

/* Sends the plans, on condition that what the diff was made against is still in force. */
static enum exit_code apply_send(const struct settings *settings, struct workspace *workspace,
                                 uint64_t base, uint64_t *version, bool *changed) {
    struct writer writer = writer_of(workspace->request, sizeof workspace->request);
    request_write_head(&writer, 1, METHOD_PLANS_APPLY);
    write_array(&writer, 2);
    plan_set_write(&writer, &workspace->wanted);
    write_map(&writer, 1);
    write_text_uint(&writer, "base", base);
    if (writer.overflow) {
        out_failure(settings, "the plans are too large to send");
        return EXIT_FILE;
    }
    struct rpc_answer answer;
    enum exit_code code =
        rpc_ask(settings, settings->control, false, writer_bytes(&writer), &answer);
    if (code == EXIT_DONE) {
        json_t *result = json_of_value(answer.reply.result);
        *version = (uint64_t)json_int(result, "version");
        *changed = json_is_true(json_object_get(result, "changed"));
        json_decref(result);
    }
    rpc_answer_fini(&answer);
    return code;
}

/* Of the nodes that are alive: how many there are, and how many show at least `version`. */
static bool nodes_count(const struct settings *settings, uint64_t version, uint32_t *alive,
                        uint32_t *showing) {
    uint8_t memory[64];
    struct writer writer = writer_of(memory, sizeof memory);
    request_write_head(&writer, 1, METHOD_CLUSTER_STATUS);
    write_array(&writer, 0);
    struct rpc_answer answer;
    bool good = rpc_call(settings->control, writer_bytes(&writer), settings->timeout_ms, &answer) &&
                !answer.reply.is_error;
    json_t *status = good ? json_of_value(answer.reply.result) : NULL;
    rpc_answer_fini(&answer);
    *alive = *showing = 0;
    size_t i;
    json_t *node;
    json_array_foreach(json_object_get(status, "nodes"), i, node) {
        if (json_is_true(json_object_get(node, "alive"))) {
            *alive += 1;
            *showing += (uint64_t)json_int(node, "plans_version") >= version;
        }
    }
    json_decref(status);
    return *alive > 0;
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool nodes_wait(const struct settings *settings, uint64_t version, uint32_t *alive,
                       uint32_t *showing) {
    int64_t end_ms = now_ms() + WAIT_MS;
    for (;;) {
        if (nodes_count(settings, version, alive, showing) && *alive == *showing) {
            return true;
        }
        if (now_ms() >= end_ms) {
            return false;
        }
        nanosleep(&(struct timespec){.tv_nsec = LOOK_EVERY_MS * 1000000L}, NULL);
    }
}

static enum exit_code apply_report(const struct invocation *invocation, struct workspace *workspace,
                                   uint64_t version, bool changed) {
    const struct settings *settings = &invocation->settings;
    uint32_t alive = 0, showing = 0;
    bool waited = !invocation->options.no_wait;
    bool everywhere = waited && nodes_wait(settings, version, &alive, &showing);
    if (settings->json) {
        json_t *report =
            json_pack("{s:I, s:b, s:o}", "version", (json_int_t)version, "changed", (int)changed,
                      "diff", plans_diff_json(&workspace->current, &workspace->wanted));
        if (waited) {
            json_object_set_new(report, "nodes",
                                json_pack("{s:i, s:i}", "alive", alive, "showing", showing));
        }
        out_json(report);
    } else if (!waited) {
        printf("%sapplied%s  version %" PRIu64 "\n", color_on(settings, COLOR_GREEN),
               color_off(settings), version);
    } else if (everywhere) {
        printf("%s%s%s  version %" PRIu64 " is in force on %u of %u live nodes\n",
               color_on(settings, COLOR_GREEN), changed ? "applied" : "unchanged",
               color_off(settings), version, showing, alive);
    }
    if (waited && !everywhere) {
        fprintf(stderr,
                "sluicectl: version %" PRIu64 " is stored, but only %u of %u live nodes show it "
                "after %d s; the others take it when they reach the store (sluicectl nodes)\n",
                version, showing, alive, WAIT_MS / 1000);
        return EXIT_NOT_YET;
    }
    return EXIT_DONE;
}

static enum exit_code dry_run(const struct settings *settings, struct workspace *workspace) {
    if (settings->json) {
        out_json(plans_diff_json(&workspace->current, &workspace->wanted));
    } else if (plans_diff_print(settings, &workspace->current, &workspace->wanted) == 0) {
        printf("no change to version %" PRIu64 "\n", workspace->current.version);
    }
    return EXIT_DONE;
}

static enum exit_code apply(const struct invocation *invocation, struct workspace *workspace) {
    const struct settings *settings = &invocation->settings;
    enum exit_code code = file_read(invocation, workspace);
    if (code == EXIT_DONE) {
        code = current_ask(settings, &workspace->current);
    }
    if (code != EXIT_DONE) {
        return code;
    }
    if (invocation->options.dry_run) {
        return dry_run(settings, workspace);
    }
    if (!settings->json) {
        plans_diff_print(settings, &workspace->current, &workspace->wanted);
    }
    uint64_t base =
        invocation->options.has_base ? invocation->options.base : workspace->current.version;
    uint64_t version = 0;
    bool changed = false;
    code = apply_send(settings, workspace, base, &version, &changed);
    return code == EXIT_DONE ? apply_report(invocation, workspace, version, changed) : code;
}

static enum exit_code apply_run(const struct invocation *invocation) {
    struct workspace *workspace = workspace_create(&invocation->settings);
    enum exit_code code = workspace == NULL ? EXIT_FILE : apply(invocation, workspace);
    free(workspace);
    return code;
}

/* --- show ----------------------------------------------------------------------------------- */

static void plans_print(const struct settings *settings, const struct plan_set *set,
                        const char *only) {
    struct table table;
    table_init(&table, 5);
    table_row(&table,
              (const char *const[]){"PLAN", "DEFAULT", "UNAVAILABLE", "DURABILITY", "LIMITS"});
    for (uint32_t i = 0; i < set->plan_count; i++) {
        const struct plan *plan = &set->plans[i];
        if (only != NULL && strcmp(only, plan->name.text) != 0) {
            continue;
        }
        char limits[LIMITS_TEXT_BYTES_MAX];
        terms_write(&plan->generations[0].terms, limits);
        table_row(&table,
                  (const char *const[]){plan->name.text, set->default_at == (int32_t)i ? "yes" : "",
                                        policy_text(plan->on_unavailable),
                                        durability_text(plan->durability), limits});
    }
    table_print(&table, settings);
}

/* The set as it came, or the one plan that was asked for. */
static void plans_json(struct bytes result, const char *only) {
    json_t *set = json_of_value(result), *plan;
    size_t i;
    if (only == NULL) {
        out_json(set != NULL ? set : json_null());
        return;
    }
    json_array_foreach(json_object_get(set, "plans"), i, plan) {
        if (strcmp(json_text(plan, "name"), only) == 0) {
            out_json(json_incref(plan));
            break;
        }
    }
    json_decref(set);
}

static enum exit_code plans_show(const struct invocation *invocation, struct bytes result,
                                 struct plan_set *set) {
    const struct settings *settings = &invocation->settings;
    const char *only = invocation->arguments[0];
    struct reader reader = reader_of(result);
    struct fault fault;
    if (plan_set_read(&reader, set, &fault) != CODE_OK) {
        out_failure(settings, "the answer cannot be read: %s", fault.text);
        return EXIT_ANSWERED_ERROR;
    }
    if (only != NULL && plan_set_find(set, bytes_of_text(only)) < 0) {
        out_failure(settings, "no plan is called \"%s\" (sluicectl plans show)", only);
        return EXIT_ANSWERED_ERROR;
    }
    if (settings->json) {
        plans_json(result, only);
    } else if (set->version == 0) {
        printf("no plans yet: `sluicectl plans apply FILE` sets them\n");
    } else {
        printf("version %" PRIu64 "\n\n", set->version);
        plans_print(settings, set, only);
    }
    return EXIT_DONE;
}

static enum exit_code show_run(const struct invocation *invocation) {
    struct rpc_answer answer;
    enum exit_code code = rpc_ask_plain(&invocation->settings, METHOD_PLANS_GET, &answer);
    struct workspace *workspace =
        code == EXIT_DONE ? workspace_create(&invocation->settings) : NULL;
    if (workspace != NULL) {
        code = plans_show(invocation, answer.reply.result, &workspace->current);
    }
    free(workspace);
    rpc_answer_fini(&answer);
    return code;
}

static const struct argp_option apply_options[] = {
    {"base", OPTION_BASE, "VERSION", 0,
     "apply only if this version is in force (the one that the shown changes were made against)",
     0},
    {"dry-run", OPTION_DRY_RUN, 0, 0, "show what would change, change nothing", 0},
    {"no-wait", OPTION_NO_WAIT, 0, 0, "do not wait until every live node shows the plans", 0},
    {0},
};

const struct command plans_commands[] = {
    {"plans", "apply", "put a file's plans in force", "FILE", 1, 1, apply_options,
     "Replaces all plans of the cluster by those of FILE (- for the standard input), shows what "
     "changes, and waits up to five seconds until every live node has them.\v"
     "Examples:\n"
     "  sluicectl plans apply deploy/plans/example.yaml\n"
     "  sluicectl plans apply plans.yaml --dry-run\n"
     "  sluicectl plans apply plans.yaml --base 12",
     apply_run},
    {"plans", "show", "the plans in force", "[NAME]", 0, 1, NULL,
     "Shows all plans in force, or one.\v"
     "Examples:\n"
     "  sluicectl plans show\n"
     "  sluicectl plans show premium --json",
     show_run},
    {"plans", "validate", "check a plans file", "FILE", 1, 1, NULL,
     "Reports every mistake in FILE as file:line:column; asks no cluster.\v"
     "Example:\n"
     "  sluicectl plans validate deploy/plans/example.yaml",
     validate_run},
    {0},
};
