#include "router/io/fallback_script.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "runtime/redis_time.h"

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)
#define PER_LIMIT TEXT(FALLBACK_WORDS_PER_LIMIT)
#define RAISES TEXT(FENCE_RAISES)
#define RAISES_MOST TEXT(FALLBACK_RAISES_MAX)

/* Lua counts in doubles, which are exact up to 2^53: a time is {high, low, part}, two halves of 32
 * bits of ns and a part below 2^48. Redis's own msgpack would round it, so records are taken apart
 * here. Whatever is not as our own records are is left to the router ('TERMS').
 *
 * The fence goes first: a Redis that is full refuses the script then, whole. */
const char fallback_script[] =
    "local held = tonumber(redis.call('GET', KEYS[1]) or '0')\n"
    "if not held then return redis.error_reply('BADFENCE no number in ' .. KEYS[1]) end\n"
    "local time = redis.call('TIME')\n"
    "local record = redis.call('HGET', KEYS[2], ARGV[1]) or ''\n"
    "local assigned = ARGV[2] == '1' and redis.call('HGET', KEYS[3], ARGV[1]) or ''\n"
    "local function answer(word) return {word, time[1], time[2], record, assigned} end\n"
    "if assigned ~= ARGV[3] then return answer('PLAN') end\n"

    /* Of numbers. */
    "local half = 4294967296\n"
    "local function less(a, b)\n"
    "  if a[1] ~= b[1] then return a[1] < b[1] end\n"
    "  if a[2] ~= b[2] then return a[2] < b[2] end\n"
    "  return a[3] < b[3]\n"
    "end\n"
    "local function add(a, b, rate)\n"
    "  local high, low, part = a[1] + b[1], a[2] + b[2], a[3] + b[3]\n"
    "  if part >= rate then low, part = low + 1, part - rate end\n"
    "  if low >= half then high, low = high + 1, low - half end\n"
    "  return {high, low, part}\n"
    "end\n"
    "local seconds, micros = tonumber(time[1]), tonumber(time[2])\n"
    "local upper = math.floor(seconds / 65536) * 1000000000\n"
    "local lower = upper % 65536 * 65536 + seconds % 65536 * 1000000000 + micros * 1000\n"
    "local now = {math.floor(upper / 65536) + math.floor(lower / half), lower % half, 0}\n"
    "local function deficit(tat)\n"
    "  if tat[1] < now[1] or tat[1] == now[1] and tat[2] < now[2] then return {0, 0, 0} end\n"
    "  local high, low = tat[1] - now[1], tat[2] - now[2]\n"
    "  if low < 0 then high, low = high - 1, low + half end\n"
    "  return {high, low, tat[3]}\n"
    "end\n"

    /* Of records. */
    "local head, count = ARGV[5], (#ARGV - 6) / " PER_LIMIT "\n"
    "local at = #head + 1\n"
    "local function number()\n"
    "  local first = string.byte(record, at) or 255\n"
    "  at = at + 1\n"
    "  if first < 128 then return 0, first end\n"
    "  if first < 204 or first > 207 then return nil end\n"
    "  local high, low, size = 0, 0, 2 ^ (first - 204)\n"
    "  if at + size - 1 > #record then return nil end\n"
    "  for i = at, at + size - 1 do\n"
    "    high = high * 256 + math.floor(low / 16777216)\n"
    "    low = low % 16777216 * 256 + string.byte(record, i)\n"
    "  end\n"
    "  at = at + size\n"
    "  return high, low\n"
    "end\n"
    "local function tat_read(rate)\n"
    "  local pair = string.byte(record, at) == 146\n"
    "  if pair then at = at + 1 end\n"
    "  local high, low = number()\n"
    "  if not high or high >= 2147483648 then return nil end\n"
    "  if not pair then return {high, low, 0} end\n"
    "  local more, part = number()\n"
    "  if not more or more >= 65536 or more * half + part >= rate "
    "then return nil end\n"
    "  return {high, low, more * half + part}\n"
    "end\n"
    "local function eight(high, low)\n"
    "  local bytes = '\\207'\n"
    "  for i, word in ipairs({high, low}) do\n"
    "    bytes = bytes .. string.char(math.floor(word / 16777216), "
    "math.floor(word / 65536) % 256,\n"
    "      math.floor(word / 256) % 256, word % 256)\n"
    "  end\n"
    "  return bytes\n"
    "end\n"

    /* Decided. */
    "local function given(at)\n"
    "  return {tonumber(ARGV[at]), tonumber(ARGV[at + 1]), "
    "tonumber(ARGV[at + 2])}\n"
    "end\n"
    "if record ~= '' and record ~= ARGV[6] and string.sub(record, 1, "
    "#head) ~= head then\n"
    "  return answer('TERMS')\n"
    "end\n"
    "local after, granted = head, count > 0\n"
    "for i = 1, count do\n"
    "  local first = 7 + (i - 1) * " PER_LIMIT "\n"
    "  local rate, tat = "
    "tonumber(ARGV[first]), {0, 0, 0}\n"
    "  if record ~= '' and record == "
    "ARGV[6] then tat = given(first + "
    "7)\n"
    "  elseif record ~= '' then tat = "
    "tat_read(rate) end\n"
    "  if not tat then return "
    "answer('TERMS') end\n"
    "  local spent = deficit(tat)\n"
    "  granted = granted and not "
    "less(given(first + 4), spent)\n"
    "  if granted then\n"
    "    local full = add(add(spent, "
    "given(first + 1), rate), now, "
    "rate)\n"
    "    if full[3] == 0 then after = "
    "after .. eight(full[1], full[2])\n"
    "    else after = after .. '\\146' "
    ".. eight(full[1], full[2]) ..\n"
    "      eight(math.floor(full[3] / "
    "half), full[3] % half) end\n"
    "  end\n"
    "end\n"
    "if record ~= '' and record ~= "
    "ARGV[6] and at ~= #record + 1 "
    "then return answer('TERMS') end\n"
    "if ARGV[4] ~= '1' then return "
    "answer('LOOKED') end\n"
    "if not granted then return "
    "answer('REFUSED') end\n"

    /* Half a raise, unless the fence
       ends in a half: then no owner has
       raised it since. */
    "if held % 1 == 0 then\n"
    "  if held % " RAISES " >= " RAISES_MOST " then "
    "return "
    "answer('"
    "WORN') "
    "end\n"
    "  "
    "redis."
    "call('"
    "SET', "
    "KEYS[1], "
    "string."
    "format('%"
    ".1f', "
    "held + "
    "0.5))\n"
    "end\n"
    "redis."
    "call('"
    "HSET', "
    "KEYS[2], "
    "ARGV[1], "
    "after)\n"
    "return "
    "answer('"
    "GRANTED')"
    "\n";

/* --- words ---------------------------------------------------------------------------------- */

static void word_add(struct fallback_words *words, const void *data, size_t size) {
    assert(words->count < FALLBACK_WORDS_MAX);
    words->words[words->count] = data;
    words->sizes[words->count] = size;
    words->count++;
}

static void text_add(struct fallback_words *words, const char *text) {
    word_add(words, text, strlen(text));
}

static void number_add(struct fallback_words *words, int *used, uint64_t value) {
    char *text = words->numbers[(*used)++];
    word_add(words, text, (size_t)snprintf(text, FALLBACK_NUMBER_BYTES, "%" PRIu64, value));
}

static void time_add(struct fallback_words *words, int *used, const struct tat *time) {
    number_add(words, used, time->ns >> 32);
    number_add(words, used, time->ns & UINT32_MAX);
    number_add(words, used, time->part);
}

void fallback_words_fill(struct fallback_words *words, const struct fallback_call *call,
                         const char *prefix, const char *sha) {
    int used = 0;
    words->count = 0;
    store_key_fence(prefix, call->slot, words->keys[0]);
    store_key_buckets(prefix, call->slot, words->keys[1]);
    store_key_keys(prefix, call->slot, words->keys[2]);
    text_add(words, "EVALSHA");
    text_add(words, sha);
    text_add(words, "3");
    for (int i = 0; i < 3; i++) {
        text_add(words, words->keys[i]);
    }
    word_add(words, call->key.data, call->key.size);
    text_add(words, call->by_default ? "1" : "0");
    word_add(words, call->assigned.text, call->assigned.size);
    text_add(words, call->writes ? "1" : "0");
    word_add(words, call->head, call->head_size);
    word_add(words, call->expected, call->expected_size);
    for (uint32_t i = 0; i < call->limit_count; i++) {
        const struct fallback_limit *limit = &call->limits[i];
        number_add(words, &used, limit->rate_tokens);
        time_add(words, &used, &limit->increment);
        time_add(words, &used, &limit->room);
        time_add(words, &used, &limit->tat);
    }
}

/* --- the answer ----------------------------------------------------------------------------- */

static bool decimal_read(struct bytes text, uint64_t most, uint64_t *value) {
    *value = 0;
    for (uint32_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || *value > most / 10) {
            return false;
        }
        *value = *value * 10 + (text.data[i] - '0');
    }
    return text.size > 0 && *value <= most;
}

bool fallback_answer_read(const struct bytes parts[5], struct fallback_answer *answer) {
    static const char *const texts[] = {
        [FALLBACK_GRANTED] = "GRANTED",   [FALLBACK_REFUSED] = "REFUSED",
        [FALLBACK_LOOKED] = "LOOKED",     [FALLBACK_OTHER_PLAN] = "PLAN",
        [FALLBACK_OTHER_TERMS] = "TERMS", [FALLBACK_WORN] = "WORN",
    };
    uint64_t seconds, micros;
    uint32_t status = 0;
    while (status < FALLBACK_FAILED && !bytes_equal(parts[0], bytes_of_text(texts[status]))) {
        status++;
    }
    answer->status = (enum fallback_status)status;
    answer->record = parts[3];
    answer->assigned = parts[4];
    if (status == FALLBACK_FAILED ||
        !decimal_read(parts[1], REDIS_TIME_SECONDS_MAX - 1, &seconds) ||
        !decimal_read(parts[2], 999999, &micros)) {
        return false;
    }
    answer->now_ns = seconds * 1000000000 + micros * 1000;
    return true;
}
