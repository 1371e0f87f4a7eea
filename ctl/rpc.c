#include "ctl/rpc.h"

#include <nng/protocol/reqrep0/req.h>
#include <stdio.h>

#include "ctl/out.h"

static bool fail(struct rpc_answer *answer, const char *url, int error) {
    const char *fix = "";
    if (error == NNG_EINVAL || error == NNG_ENOTSUP || error == NNG_EADDRINVAL) {
        fix = "; expected a URL like tcp://127.0.0.1:7590";
    } else if (error == NNG_ECONNRESET || error == NNG_ECLOSED) {
        fix = "; the connection was closed before the answer: the request may or may not have been "
              "carried out";
    } else {
        answer->nobody_there = true;
    }
    char reason[64];
    snprintf(reason, sizeof reason, "%s", nng_strerror(error));
    if (reason[0] >= 'A' && reason[0] <= 'Z') {
        reason[0] = (char)(reason[0] - 'A' + 'a');
    }
    snprintf(answer->failure, sizeof answer->failure, "cannot reach %.160s: %s%s", url, reason,
             fix);
    return false;
}

/* Connects and hangs up: nng's own dialing either blocks for as long as the kernel likes, or does
 * not say why it failed. */
static int probe(const char *url, uint32_t timeout_ms) {
    nng_stream_dialer *dialer = NULL;
    nng_aio *aio = NULL;
    int error = nng_aio_alloc(&aio, NULL, NULL);
    if (error == 0 && (error = nng_stream_dialer_alloc(&dialer, url)) == 0) {
        nng_aio_set_timeout(aio, (nng_duration)timeout_ms);
        nng_stream_dialer_dial(dialer, aio);
        nng_aio_wait(aio);
        error = nng_aio_result(aio);
        if (error == 0) {
            nng_stream_free(nng_aio_get_output(aio, 0));
        }
        nng_stream_dialer_free(dialer);
    }
    if (aio != NULL) {
        nng_aio_free(aio);
    }
    return error;
}

static int exchange(nng_socket socket, struct bytes request, uint32_t timeout_ms,
                    nng_msg **message) {
    int error;
    nng_msg *sent = NULL;
    if ((error = nng_socket_set_ms(socket, NNG_OPT_SENDTIMEO, (nng_duration)timeout_ms)) != 0 ||
        (error = nng_socket_set_ms(socket, NNG_OPT_RECVTIMEO, (nng_duration)timeout_ms)) != 0 ||
        (error = nng_msg_alloc(&sent, 0)) != 0) {
        return error;
    }
    if ((error = nng_msg_append(sent, request.data, request.size)) != 0 ||
        (error = nng_sendmsg(socket, sent, 0)) != 0) {
        nng_msg_free(sent);
        return error;
    }
    return nng_recvmsg(socket, message, 0);
}

bool rpc_call(const char *url, struct bytes request, uint32_t timeout_ms,
              struct rpc_answer *answer) {
    memset(answer, 0, sizeof *answer);
    nng_socket socket;
    int error = probe(url, timeout_ms);
    if (error != 0) {
        return fail(answer, url, error);
    }
    if ((error = nng_req0_open(&socket)) != 0) {
        return fail(answer, url, error);
    }
    /* An operator's verb must not be carried out twice because an answer was slow. */
    if ((error = nng_socket_set_ms(socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE)) == 0 &&
        (error = nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, MESSAGE_BYTES_MAX)) == 0 &&
        (error = nng_dial(socket, url, NULL, NNG_FLAG_NONBLOCK)) == 0) {
        error = exchange(socket, request, timeout_ms, &answer->message);
    }
    nng_close(socket);
    if (error == NNG_ETIMEDOUT) {
        snprintf(answer->failure, sizeof answer->failure,
                 "no answer from %.160s within %u ms (--timeout DURATION); the request may or may "
                 "not have been carried out",
                 url, timeout_ms);
        return false;
    }
    if (error != 0) {
        return fail(answer, url, error);
    }
    if (!reply_read(bytes_of(nng_msg_body(answer->message), nng_msg_len(answer->message)),
                    &answer->reply)) {
        snprintf(answer->failure, sizeof answer->failure,
                 "%.160s answered something that is no reply of this protocol; is it a Sluice "
                 "endpoint?",
                 url);
        return false;
    }
    return true;
}

void rpc_answer_fini(struct rpc_answer *answer) {
    if (answer->message != NULL) {
        nng_msg_free(answer->message);
        answer->message = NULL;
    }
}

/* Where to go on asking, or false if the reply sends nowhere. */
static bool next_hop(const struct rpc_answer *answer, char url[ENDPOINT_BYTES_MAX + 1]) {
    struct moved moved;
    struct endpoint_name name;
    if (!answer->reply.is_error || answer->reply.code != CODE_MOVED ||
        !moved_read(answer->reply.data, &moved) || !endpoint_name_set(&name, moved.endpoint)) {
        return false;
    }
    memcpy(url, name.text, (size_t)name.size + 1);
    return true;
}

uint32_t rpc_retry_ms(const struct rpc_answer *answer) {
    uint64_t ms;
    struct reader reader = reader_of(answer->reply.data);
    bool told = answer->reply.is_error && answer->reply.code == CODE_UNAVAILABLE &&
                read_uint(&reader, &ms) && ms <= UINT32_MAX;
    return told ? (uint32_t)ms : 0;
}

enum exit_code rpc_try(const struct settings *settings, const char *url, bool follow,
                       struct bytes request, struct rpc_answer *answer) {
    char at[ENDPOINT_BYTES_MAX + 1];
    snprintf(at, sizeof at, "%s", url);
    if (strlen(url) > ENDPOINT_BYTES_MAX) {
        memset(answer, 0, sizeof *answer);
        out_failure(settings, "the URL is too long");
        return EXIT_USAGE;
    }
    for (uint32_t hops = 0;; hops++) {
        if (!rpc_call(at, request, settings->timeout_ms, answer)) {
            const char *hint = !answer->nobody_there ? ""
                               : url == settings->router
                                   ? "; is a router running there? (--router URL, SLUICE_ROUTER)"
                                   : "; is a node running there? (--control URL, SLUICE_CONTROL)";
            out_failure(settings, "%s%s", answer->failure, hint);
            return EXIT_UNREACHABLE;
        }
        if (!follow || hops == RPC_HOPS_MAX || !next_hop(answer, at)) {
            break;
        }
        rpc_answer_fini(answer);
    }
    return answer->reply.is_error ? EXIT_ANSWERED_ERROR : EXIT_DONE;
}

enum exit_code rpc_ask(const struct settings *settings, const char *url, bool follow,
                       struct bytes request, struct rpc_answer *answer) {
    enum exit_code code = rpc_try(settings, url, follow, request, answer);
    if (code == EXIT_ANSWERED_ERROR) {
        out_error(settings, &answer->reply);
    }
    return code;
}

enum exit_code rpc_ask_plain(const struct settings *settings, enum method method,
                             struct rpc_answer *answer) {
    uint8_t memory[64];
    struct writer writer = writer_of(memory, sizeof memory);
    request_write_head(&writer, 1, method);
    write_array(&writer, 0);
    return rpc_ask(settings, settings->control, false, writer_bytes(&writer), answer);
}
