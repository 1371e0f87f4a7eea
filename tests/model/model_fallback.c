/*
 * The script by which routers decide in the store, against the bucket's own arithmetic in C.
 *
 * Keys are taken, peeked at and overspent under plans whose limits, generations and assignments
 * change, over any span of time. The script runs in the simulator's Lua, on the model of Redis, or
 * (SLUICE_TEST_REDIS=HOST:PORT) in a real one, whose clock counts then. Each answer must be what a
 * bucket in C says that has seen all that was granted; each record what that bucket is. An owner
 * raises its fence with production's script now and then, and writes under the fence that it has:
 * accepted only if no router has written since.
 */
#include <assert.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/bucket.h"
#include "router/io/fallback_script.h"
#include "server/io/scripts.h"
#include "tests/model/model.h"
#include "tests/sim/script.h"

#define KEYS_COUNT 6
#define PLANS_COUNT 4
#define EPOCH 7
#define PREFIX "model:"
#define FENCE (PREFIX "{3}:fence")
#define HOLDER (PREFIX "{3}:holder")
#define ASSIGNED (PREFIX "{3}:keys")
#define BUCKETS (PREFIX "{3}:buckets")

struct key {
    char name[24];
    struct tat tats[LIMITS_PER_PLAN_MAX];
    struct terms terms;   /* of its record; limit_count 0: it has none */
    struct name assigned; /* size 0: none */
};

static struct plan_set *plans;
static struct key keys[KEYS_COUNT];
static uint64_t now_ns = UINT64_C(1700000000) * 1000000000;
static uint64_t owner_fence;
static bool fenced; /* a router has written since the owner raised its fence */
static uint64_t granted_count, refused_count, looked_count, converted_count, reassigned_count;
static uint64_t kept_count; /* decided under the terms of the record */

/* --- the store ------------------------------------------------------------------------------- */

static redisContext *redis; /* NULL: the model */
static struct db *db;
static struct scripts *scripts;
static char router_sha[41], script_shas[SCRIPT_COUNT][41];
static int router_script, script_numbers[SCRIPT_COUNT];

static const char *const faults[] = {"no-carry", "no-half", "room-exclusive", "low-half-lost",
                                     NULL};
static const char *const fault_edits[][2] = {
    {"low, part = low + 1, part - rate", "low, part = low, part - rate"},
    {"redis.call('SET', KEYS[1], string.format('%.1f', held + 0.5))", ""},
    {"not less(given(first + 4), spent)", "less(spent, given(first + 4))"},
    {"if low >= half then high, low = high + 1, low - half end",
     "if low >= half then low = low - half end"},
};

static char *script_planted(int plant) {
    const char *found = plant < 0 ? NULL : strstr(fallback_script, fault_edits[plant][0]);
    size_t size = strlen(fallback_script) + 128;
    char *text = malloc(size);
    assert(text != NULL && (plant < 0) == (found == NULL));
    snprintf(text, size, "%.*s%s%s", found == NULL ? 0 : (int)(found - fallback_script),
             fallback_script, plant < 0 ? "" : fault_edits[plant][1],
             found == NULL ? fallback_script : found + strlen(fault_edits[plant][0]));
    return text;
}

static void script_register(const char *text, char sha[41], int *number) {
    char why[256];
    if (redis == NULL) {
        *number = scripts_load(scripts, bytes_of_text(text), why, sizeof why);
        snprintf(sha, 41, "%040d", *number);
        if (*number < 0) {
            model_fail("%s", why);
        }
        return;
    }
    redisReply *reply = redisCommand(redis, "SCRIPT LOAD %s", text);
    if (reply == NULL || reply->type != REDIS_REPLY_STRING) {
        model_fail("SCRIPT LOAD: %s", reply == NULL ? redis->errstr : reply->str);
    }
    snprintf(sha, 41, "%s", reply->str);
    freeReplyObject(reply);
}

static void store_begin(int plant) {
    const char *address = getenv("SLUICE_TEST_REDIS");
    char *text = script_planted(plant);
    if (address != NULL) {
        const char *colon = strrchr(address, ':');
        char host[64];
        snprintf(host, sizeof host, "%.*s", colon == NULL ? 0 : (int)(colon - address), address);
        redis = redisConnect(host, colon == NULL ? 0 : (int)strtol(colon + 1, NULL, 10));
        if (redis == NULL || redis->err != 0) {
            model_fail("SLUICE_TEST_REDIS=%s: %s", address, redis == NULL ? "" : redis->errstr);
        }
    }
    db = db_create();
    scripts = scripts_create();
    script_register(text, router_sha, &router_script);
    for (int i = SCRIPT_RAISE_FENCE; i <= SCRIPT_ASSIGN; i++) {
        script_register(script_text((enum script)i), script_shas[i], &script_numbers[i]);
    }
    free(text);
}

/* One command: EVALSHA sha 3 ..., or any other. The reply is the caller's. */
static redisReply *call(int count, const char **words, const size_t *sizes) {
    redisReply *reply = NULL;
    if (redis != NULL) {
        reply = redisCommandArgv(redis, count, words, sizes);
    } else {
        struct bytes bytes[FALLBACK_WORDS_MAX];
        struct buffer out = {0};
        redisReader *reader = redisReaderCreate();
        for (int i = 0; i < count; i++) {
            bytes[i] = bytes_of(words[i], (uint32_t)sizes[i]);
        }
        if (strcmp(words[0], "EVALSHA") == 0) {
            uint32_t key_count = (uint32_t)strtoul(words[2], NULL, 10);
            struct script_call call = {.script = (int)strtol(words[1], NULL, 10),
                                       .now_ns = now_ns,
                                       .keys = bytes + 3,
                                       .words = bytes + 3 + key_count,
                                       .key_count = key_count,
                                       .word_count = (uint32_t)count - 3 - key_count};
            scripts_run(scripts, db, &call, &out);
        } else {
            db_call(db, now_ns / 1000000, bytes, (uint32_t)count, &out);
        }
        redisReaderFeed(reader, (const char *)out.data, out.size);
        redisReaderGetReply(reader, (void **)&reply);
        redisReaderFree(reader);
        buffer_free(&out);
    }
    if (reply == NULL || reply->type == REDIS_REPLY_ERROR) {
        model_fail("%s: %s", words[0], reply == NULL ? "no answer" : reply->str);
    }
    return reply;
}

static redisReply *call_texts(int count, const char **words) {
    size_t sizes[16];
    for (int i = 0; i < count; i++) {
        sizes[i] = strlen(words[i]);
    }
    return call(count, words, sizes);
}

/* --- plans ----------------------------------------------------------------------------------- */

/* Rates that divide nothing, and the longest, finest and coarsest of all. */
static struct limit limit_draw(void) {
    static const uint64_t periods[] = {1000000, 1000000000, 60000000000, 86400000000000,
                                       PERIOD_NS_MAX};
    struct limit limit;
    struct fault fault;
    do {
        limit.period_ns = periods[model_below(5)];
        limit.rate_tokens = model_chance(20) ? TOKENS_MAX - model_below(1000)
                                             : model_between(1, UINT64_C(1) << model_below(40));
        limit.burst_tokens =
            model_chance(20) ? TOKENS_MAX : model_between(1, UINT64_C(1) << model_below(30));
    } while (limit_check(&limit, "limit", &fault) != CODE_OK);
    return limit;
}

static struct terms terms_draw(void) {
    struct terms terms = {.limit_count = (uint32_t)model_between(1, LIMITS_PER_PLAN_MAX)};
    for (uint32_t i = 0; i < terms.limit_count; i++) {
        terms.limits[i] = limit_draw();
    }
    return terms;
}

static void plans_draw(void) {
    struct plan_set *next = malloc(sizeof *next), *wanted = malloc(sizeof *wanted);
    assert(next != NULL && wanted != NULL);
    plan_set_init(wanted);
    wanted->default_at = 0;
    for (uint32_t i = 0; i < PLANS_COUNT; i++) {
        struct plan plan = {.on_unavailable = POLICY_REDIS, .generation_count = 1};
        plan.name.size =
            (uint8_t)snprintf(plan.name.text, sizeof plan.name.text, "plan-%u%s", i,
                              i == 3 ? "-with-a-name-that-is-longer-than-thirty-one-bytes" : "");
        bool stays = plans->plan_count > i && model_chance(60);
        plan.generations[0].terms = stays ? plans->plans[i].generations[0].terms : terms_draw();
        plan_set_add(wanted, &plan);
    }
    if (plan_set_succeed(plans, wanted, next)) {
        *plans = *next;
    }
    free(wanted);
    free(next);
}

/* --- one take -------------------------------------------------------------------------------- */

static void time_passes(void) {
    static const uint64_t spans[] = {1000, 1000000, 1000000000, 3600000000000, 86400000000000};
    /* A century is enough: a full bucket's time must stay below 2^63 ns. */
    uint64_t kinds = now_ns < UINT64_C(4850000000) * 1000000000 ? 5 : 3;
    if (redis == NULL && model_chance(70)) {
        now_ns += model_below(spans[model_below(kinds)]) / 1000 * 1000;
    }
}

static enum fallback_status ask(const struct fallback_call *asked, struct fallback_answer *answer,
                                redisReply **reply) {
    struct fallback_words words;
    struct bytes parts[5];
    fallback_words_fill(&words, asked, PREFIX, router_sha);
    *reply = call(words.count, words.words, words.sizes);
    if ((*reply)->type != REDIS_REPLY_ARRAY || (*reply)->elements != 5) {
        model_fail("an answer of type %d", (*reply)->type);
    }
    for (int i = 0; i < 5; i++) {
        parts[i] = bytes_of((*reply)->element[i]->str, (uint32_t)(*reply)->element[i]->len);
    }
    if (!fallback_answer_read(parts, answer)) {
        model_fail("an answer that cannot be read: %s", parts[0].data);
    }
    return answer->status;
}

/* The record is what the bucket is. */
static void record_check(const struct key *key, const struct fallback_call *asked) {
    const char *words[] = {"HGET", BUCKETS, key->name};
    redisReply *reply = call_texts(3, words);
    struct record record;
    struct fault fault;
    if (reply->type != REDIS_REPLY_STRING ||
        record_read(bytes_of(reply->str, (uint32_t)reply->len), &record, &fault) != CODE_OK) {
        model_fail("%s has no record that can be read", key->name);
    }
    bool same = record.tat_count == key->terms.limit_count &&
                record.generation == asked->generation &&
                record.is_inline == (asked->plan.size == 0) &&
                (record.is_inline ? limit_equal(&record.limit, &key->terms.limits[0])
                                  : bytes_equal(record.plan, name_bytes(&asked->plan)));
    for (uint32_t i = 0; same && i < record.tat_count; i++) {
        same = record.tats[i].ns == key->tats[i].ns && record.tats[i].part == key->tats[i].part;
    }
    if (!same) {
        model_fail("%s: the record is not what was granted", key->name);
    }
    freeReplyObject(reply);
}

static void granted(struct key *key, const struct fallback_call *asked, const struct tat after[]) {
    key->terms = asked->terms;
    memcpy(key->tats, after, sizeof key->tats);
    fenced = true;
    granted_count++;
    record_check(key, asked);
}

static void answer_check(struct key *key, const struct fallback_call *asked,
                         const struct fallback_answer *answer, enum verb verb, uint64_t cost,
                         const struct tat before[]) {
    struct take_result expected, judged;
    struct tat after[LIMITS_PER_PLAN_MAX];
    memcpy(after, before, sizeof after);
    bucket_decide(&asked->terms, after, verb, cost, answer->now_ns, &expected);
    if (asked->writes && expected.allowed != (answer->status == FALLBACK_GRANTED)) {
        model_fail("%s: the script has %s %" PRIu64 " tokens, the bucket has %s them", key->name,
                   expected.allowed ? "refused" : "granted", cost,
                   expected.allowed ? "granted" : "refused");
    }
    if (!fallback_call_judge(asked, answer, verb, cost, &judged) ||
        judged.allowed != expected.allowed || judged.flags != TAKE_FLAG_DEGRADED ||
        judged.remaining_tokens != expected.remaining_tokens ||
        judged.retry_after_us != expected.retry_after_us) {
        model_fail("%s: the router judges otherwise", key->name);
    }
    if (answer->status == FALLBACK_GRANTED) {
        granted(key, asked, after);
    } else {
        refused_count += answer->status == FALLBACK_REFUSED;
        looked_count += answer->status == FALLBACK_LOOKED;
    }
}

/* Mostly the one that it had before. */
static void plan_choose(struct fallback_call *asked, const struct key *key, bool believed) {
    bool usual = model_chance(80);
    int32_t at = (int32_t)(usual ? (uint64_t)(key - keys) % PLANS_COUNT : model_below(PLANS_COUNT));
    if (model_chance(5)) {
        struct limit limit = limit_draw();
        limit.period_ns = limit.period_ns / 1000000 * 1000000;
        fallback_call_inline(asked, &limit);
        return;
    }
    asked->by_default = model_chance(usual ? 10 : 50);
    if (asked->by_default) {
        asked->assigned = believed ? key->assigned : (struct name){0};
        at = asked->assigned.size == 0 ? 0 : plan_set_find(plans, name_bytes(&asked->assigned));
    }
    fallback_call_plan(asked, &plans->plans[at]);
}

/* The plan does not remember the generation. */
static bool forgotten(struct bytes bytes) {
    struct record record;
    struct fault fault;
    if (record_read(bytes, &record, &fault) != CODE_OK || record.is_inline) {
        return false;
    }
    const struct plan *plan = &plans->plans[plan_set_find(plans, record.plan)];
    return record.generation < plan->generations[plan->generation_count - 1].generation;
}

static void take(void) {
    struct key *key = &keys[model_below(KEYS_COUNT)];
    struct fallback_call asked = {.slot = {3}, .key = bytes_of_text(key->name)};
    struct fallback_answer answer = {0};
    struct tat before[LIMITS_PER_PLAN_MAX];
    redisReply *reply;
    plan_choose(&asked, key, model_chance(80));
    enum verb verb = model_chance(10) ? VERB_PEEK : VERB_TAKE;
    uint64_t burst = UINT64_MAX;
    for (uint32_t i = 0; i < asked.terms.limit_count; i++) {
        uint64_t other = asked.terms.limits[i].burst_tokens;
        burst = other < burst ? other : burst;
    }
    uint64_t cost = model_chance(50) ? model_between(0, 3) : model_below(burst + burst / 8 + 2);
    fallback_call_cost(&asked, verb, cost);
    memcpy(before, key->tats, sizeof before);
    if (ask(&asked, &answer, &reply) == FALLBACK_OTHER_PLAN) {
        if (!bytes_equal(answer.assigned, name_bytes(&key->assigned))) {
            model_fail("%s: another plan than the one assigned", key->name);
        }
        asked.assigned = key->assigned;
        int32_t at = key->assigned.size == 0 ? 0 : plan_set_find(plans, answer.assigned);
        fallback_call_plan(&asked, &plans->plans[at]);
        fallback_call_cost(&asked, verb, cost);
        freeReplyObject(reply);
        ask(&asked, &answer, &reply);
        reassigned_count++;
    }
    if (answer.status == FALLBACK_OTHER_TERMS) {
        enum reason reason = fallback_call_convert(&asked, plans, answer.record, answer.now_ns);
        if (reason == REASON_STORE_REFUSED && forgotten(answer.record)) {
            freeReplyObject(reply);
            return; /* whose terms may be slower, so nobody decides */
        }
        if (reason != REASON_NONE) {
            model_fail("%s: a record that cannot be converted", key->name);
        }
        kept_count += terms_equal(&key->terms, &asked.terms);
        if (key->terms.limit_count == 0) {
            model_fail("%s: other terms, of no record", key->name);
        }
        bucket_convert(&key->terms, &asked.terms, before, answer.now_ns);
        freeReplyObject(reply);
        time_passes();
        ask(&asked, &answer, &reply);
        converted_count++;
    }
    answer_check(key, &asked, &answer, verb, cost, before);
    freeReplyObject(reply);
}

/* --- the owner ------------------------------------------------------------------------------- */

static redisReply *owner_call(enum script script, const char *second, int count,
                              const char **words) {
    const char *all[16] = {"EVALSHA", script_shas[script], "2", FENCE, second};
    for (int i = 0; i < count; i++) {
        all[5 + i] = words[i];
    }
    return call_texts(5 + count, all);
}

static void owner_raises(void) {
    char epoch[24];
    const char *words[] = {epoch, "0", "owner/0"};
    snprintf(epoch, sizeof epoch, "%d", EPOCH);
    redisReply *reply = owner_call(SCRIPT_RAISE_FENCE, HOLDER, 3, words);
    uint64_t raised = strtoull(reply->str, NULL, 10);
    if (raised <= owner_fence || raised > owner_fence + (owner_fence == 0 ? UINT64_MAX / 2 : 1)) {
        model_fail("fence %" PRIu64 " after %" PRIu64, raised, owner_fence);
    }
    owner_fence = raised;
    fenced = false;
    freeReplyObject(reply);
}

static void expect(const char *what, redisReply *reply, bool refused) {
    if ((strcmp(reply->str, "FENCED") == 0) != refused) {
        model_fail("%s of the owner: %s, and routers have %swritten", what, reply->str,
                   refused ? "" : "not ");
    }
    freeReplyObject(reply);
}

/* What it would write, assign and raise again under the fence that it holds. */
static void owner_writes(void) {
    char fence[24], epoch[24], holder[64];
    struct key *key = &keys[model_below(KEYS_COUNT)];
    snprintf(fence, sizeof fence, "%" PRIu64, owner_fence);
    snprintf(epoch, sizeof epoch, "%d", EPOCH);
    snprintf(holder, sizeof holder, "owner/0@%" PRIu64, owner_fence);
    const char *nothing[] = {fence, "0", "0"};
    expect("a write", owner_call(SCRIPT_WRITE, BUCKETS, 3, nothing), fenced);
    const struct name *plan = &plans->plans[model_below(PLANS_COUNT)].name;
    const char *assign[] = {fence, key->name, model_chance(30) ? "" : plan->text};
    expect("an assignment", owner_call(SCRIPT_ASSIGN, ASSIGNED, 3, assign), fenced);
    if (!fenced) {
        key->assigned = assign[2][0] == '\0' ? (struct name){0} : *plan;
    } else {
        const char *again[] = {epoch, fence, holder};
        expect("a fence", owner_call(SCRIPT_RAISE_FENCE, HOLDER, 3, again), true);
    }
}

/* --- the run --------------------------------------------------------------------------------- */

int main(int argc, char **argv) {
    /* About two seconds. */
    struct model_arguments arguments = model_arguments(argc, argv, 60000, faults);
    plans = calloc(1, sizeof *plans);
    assert(plans != NULL);
    plan_set_init(plans);
    store_begin(arguments.plant);
    if (redis != NULL) {
        const char *words[] = {"DEL", FENCE, HOLDER, ASSIGNED, BUCKETS};
        freeReplyObject(call_texts(5, words));
    }
    for (uint32_t i = 0; i < KEYS_COUNT; i++) {
        snprintf(keys[i].name, sizeof keys[i].name, "key-%u", i);
    }
    plans_draw();
    owner_raises();
    for (model_step = 0; model_step < arguments.steps; model_step++) {
        time_passes();
        uint64_t what = model_below(1000);
        if (what < 3) {
            plans_draw();
        } else if (what < 20) {
            owner_raises();
        } else if (what < 60) {
            owner_writes();
        } else {
            take();
        }
    }
    printf("%" PRIu64 " granted, %" PRIu64 " refused, %" PRIu64 " looked at, %" PRIu64
           " of other terms, %" PRIu64 " under those of the record, %" PRIu64
           " of another plan%s\n",
           granted_count, refused_count, looked_count, converted_count, kept_count,
           reassigned_count, redis != NULL ? ", in a real Redis" : "");
    if (granted_count * refused_count * looked_count * kept_count * reassigned_count == 0 ||
        converted_count <= kept_count) {
        model_fail("something was never exercised");
    }
    return 0;
}
