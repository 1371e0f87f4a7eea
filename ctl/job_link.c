#include "ctl/job_link.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ctl/out.h"

enum exit_code job_get(struct job_link *link, bool quiet) {
    uint8_t memory[64];
    struct writer writer = writer_of(memory, sizeof memory);
    struct rpc_answer answer;
    enum exit_code code = EXIT_DONE;
    request_write_head(&writer, 1, METHOD_REBALANCE_GET);
    write_array(&writer, 0);
    if (!quiet) {
        code = cluster_ask(link->cluster, writer_bytes(&writer), &answer);
    } else if (!cluster_call(link->cluster, writer_bytes(&writer), &answer)) {
        code = EXIT_UNREACHABLE;
    } else if (answer.reply.is_error) {
        code = EXIT_ANSWERED_ERROR;
    }
    if (code == EXIT_DONE) {
        struct reader reader = reader_of(answer.reply.result);
        struct bytes value;
        uint32_t parts;
        if (!read_array(&reader, &parts) || parts < 2 || !read_uint(&reader, &link->number) ||
            !read_any(&reader, &value)) {
            out_failure(link->cluster->settings, "the answer is not a rebalance's record");
            code = EXIT_ANSWERED_ERROR;
        } else {
            link->has_job = job_read(value, &link->seen);
        }
    }
    rpc_answer_fini(&answer);
    return code;
}

enum job_put job_put(struct job_link *link, const struct job *job) {
    uint8_t memory[JOB_BYTES_MAX + 64];
    struct writer writer = writer_of(memory, sizeof memory);
    struct rpc_answer answer;
    enum job_put result = JOB_PUT_AWAY;
    uint64_t number;
    request_write_head(&writer, 1, METHOD_REBALANCE_PUT);
    write_array(&writer, 2);
    write_uint(&writer, link->number);
    job_write(&writer, job);
    if (cluster_call(link->cluster, writer_bytes(&writer), &answer)) {
        struct reader reader = reader_of(answer.reply.result);
        if (answer.reply.is_error) {
            result = answer.reply.code == CODE_CONFLICT ? JOB_PUT_CONFLICT : JOB_PUT_AWAY;
        } else if (read_uint(&reader, &number)) {
            link->number = number;
            link->seen = *job;
            link->has_job = true;
            result = JOB_PUT_OK;
        }
    }
    rpc_answer_fini(&answer);
    return result;
}

void job_operator_write(char out[JOB_OPERATOR_BYTES_MAX]) {
    char host[65] = "localhost";
    const char *user = getenv("USER");
    gethostname(host, sizeof host - 1);
    host[sizeof host - 1] = '\0';
    if (user == NULL || user[0] == '\0') {
        user = getuid() == 0 ? "root" : "operator";
    }
    snprintf(out, JOB_OPERATOR_BYTES_MAX, "%.60s@%s:%d", user, host, (int)getpid());
}

bool job_operator_gone(const char *operator_id) {
    char host[65] = "";
    const char *at = strrchr(operator_id, '@'), *colon = strrchr(operator_id, ':');
    if (at == NULL || colon == NULL || colon < at || gethostname(host, sizeof host - 1) != 0) {
        return false;
    }
    size_t size = (size_t)(colon - at - 1);
    char *end;
    long pid = strtol(colon + 1, &end, 10);
    return strlen(host) == size && memcmp(at + 1, host, size) == 0 && *end == '\0' && pid > 0 &&
           pid <= INT32_MAX && kill((pid_t)pid, 0) != 0 && errno == ESRCH;
}
