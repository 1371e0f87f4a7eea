#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/compare.h"
#include "bench/load_report.h"

/* Bytes of a line of text from the system. */
#define LINE_BYTES 256

static double us(const struct load_report *report, double share) {
    return (double)histogram_percentile(&report->latency, share) / 1e3;
}

static double error_percent(const struct load_report *report) {
    return report->takes == 0 ? 0 : 100 * (double)report->errors / (double)report->takes;
}

/* --- JSON ----------------------------------------------------------------------------------- */

/* The first line of the file that begins with `name`: what follows its colon. */
static void system_line(const char *path, const char *name, char out[LINE_BYTES]) {
    char line[LINE_BYTES];
    FILE *file = fopen(path, "re");
    snprintf(out, LINE_BYTES, "unknown");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0 && strchr(line, ':') != NULL) {
            line[strcspn(line, "\n")] = '\0';
            const char *value = strchr(line, ':') + 1;
            snprintf(out, LINE_BYTES, "%s", value + strspn(value, " \t"));
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

static void redis_version(char out[LINE_BYTES]) {
    FILE *pipe = popen("redis-server --version 2>/dev/null", "re");
    snprintf(out, LINE_BYTES, "unknown");
    if (pipe != NULL) {
        if (fgets(out, LINE_BYTES, pipe) != NULL) {
            out[strcspn(out, "\n")] = '\0';
        }
        pclose(pipe);
    }
}

static json_t *machine_json(void) {
    char cpu[LINE_BYTES], memory[LINE_BYTES], redis[LINE_BYTES], kernel[LINE_BYTES];
    struct utsname name;
    system_line("/proc/cpuinfo", "model name", cpu);
    system_line("/proc/meminfo", "MemTotal", memory);
    redis_version(redis);
    snprintf(kernel, sizeof kernel, "unknown");
    if (uname(&name) == 0) {
        snprintf(kernel, sizeof kernel, "%.64s %.128s %.32s", name.sysname, name.release,
                 name.machine);
    }
    return json_pack("{s:s, s:i, s:s, s:s, s:s, s:s}", "processor", cpu, "processors",
                     (int)sysconf(_SC_NPROCESSORS_ONLN), "memory", memory, "kernel", kernel,
                     "redis", redis, "sluice", SLUICE_VERSION);
}

static json_t *way_json(const struct way *way, const struct way_result *result) {
    json_t *json = json_pack("{s:s, s:s}", "name", way->name, "about", way->about);
    if (!result->ran) {
        json_object_set_new(json, "skipped", json_string(result->skipped));
        return json;
    }
    json_object_set_new(json, "load", load_report_json(&result->report));
    json_object_set_new(json, "slip_tokens", json_integer((json_int_t)result->verdict.slip_tokens));
    json_object_set_new(json, "keys_over", json_integer((json_int_t)result->verdict.keys_over));
    json_object_set_new(json, "worst_excess_us",
                        json_real((double)result->verdict.worst.excess_ns / 1e3));
    json_object_set_new(json, "keys", json_integer((json_int_t)result->verdict.keys));
    json_object_set_new(json, "grants_checked", json_integer((json_int_t)result->verdict.grants));
    json_object_set_new(json, "clock_error_us", json_real((double)result->clock_error_ns / 1e3));
    json_object_set_new(json, "sustained_per_second", json_real(result->sustained_per_second));
    return json;
}

json_t *compare_json(const struct compare_settings *settings, const struct way_result *results) {
    struct limit limit = COMPARE_LIMIT;
    json_t *list = json_array();
    for (uint32_t i = 0; ways[i].name != NULL; i++) {
        if (results[i].ran || results[i].skipped[0] != '\0') {
            json_array_append_new(list, way_json(&ways[i], &results[i]));
        }
    }
    json_t *load = json_pack(
        "{s:f, s:I, s:f, s:i, s:i, s:f, s:I, s:I, s:I, s:f}", "seconds",
        (double)settings->duration_ns / 1e9, "rate", (json_int_t)settings->rate, "burst_factor",
        2.0, "connections", COMPARE_LANES, "keys", COMPARE_KEYS, "zipf", COMPARE_ZIPF, "limit_rate",
        (json_int_t)limit.rate_tokens, "limit_period_ms", (json_int_t)(limit.period_ns / 1000000),
        "limit_burst", (json_int_t)limit.burst_tokens, "probe_seconds",
        (double)settings->probe_ns / 1e9);
    return json_pack("{s:o, s:o, s:o}", "machine", machine_json(), "load", load, "ways", list);
}

/* --- for people ----------------------------------------------------------------------------- */

void compare_table(const struct way_result *results) {
    printf("%-22s %10s %10s %10s %12s %9s %9s\n", "way", "average us", "p50 us", "p99 us",
           "sustained/s", "errors %", "slips");
    for (uint32_t i = 0; ways[i].name != NULL; i++) {
        const struct way_result *result = &results[i];
        if (result->ran) {
            printf("%-22s %10.1f %10.1f %10.1f %12.0f %9.4f %9llu\n", ways[i].name,
                   histogram_average(&result->report.latency) / 1e3, us(&result->report, 0.50),
                   us(&result->report, 0.99), result->sustained_per_second,
                   error_percent(&result->report), (unsigned long long)result->verdict.slip_tokens);
        } else if (result->skipped[0] != '\0') {
            printf("%-22s skipped: %s\n", ways[i].name, result->skipped);
        }
    }
}

/* --- charts --------------------------------------------------------------------------------- */

static bool data_write(const char *path, const struct way_result *results) {
    FILE *file = fopen(path, "we");
    if (file == NULL) {
        return false;
    }
    fprintf(file, "# way average_ms p50_ms p99_ms sustained errors_percent slips\n");
    for (uint32_t i = 0; ways[i].name != NULL; i++) {
        const struct load_report *report = &results[i].report;
        if (results[i].ran) {
            fprintf(file, "\"%s\" %f %f %f %f %f %llu\n", ways[i].name,
                    histogram_average(&report->latency) / 1e6, us(report, 0.50) / 1e3,
                    us(report, 0.99) / 1e3, results[i].sustained_per_second / 1e3,
                    error_percent(report), (unsigned long long)results[i].verdict.slip_tokens);
        }
    }
    return fclose(file) == 0;
}

static void chart_write(FILE *script, const char *directory, const char *name, const char *title,
                        const char *axis, bool logarithmic, const char *plot) {
    fprintf(script, "reset\nset terminal svg size 900,420 dynamic font 'sans,13'\n");
    fprintf(script, "set output '%s/%s.svg'\nset title '%s'\nset ylabel '%s'\n", directory, name,
            title, axis);
    fprintf(script,
            "set style data histogram\nset style histogram clustered gap 1\n"
            "set style fill solid 0.85 noborder\nset xtics rotate by -20\n"
            "set grid ytics\nset boxwidth 0.9\n%s\n",
            logarithmic ? "set logscale y\nset yrange [0.001:*]" : "set yrange [0:*]");
    fprintf(script, "plot %s\n", plot);
}

static bool script_write(const char *path, const char *directory, const char *data) {
    char plot[4 * SERVER_PATH_BYTES];
    FILE *script = fopen(path, "we");
    if (script == NULL) {
        return false;
    }
    snprintf(plot, sizeof plot,
             "'%s' using 2:xtic(1) title 'average', '' using 3 title 'p50', '' using 4 title 'p99'",
             data);
    chart_write(script, directory, "latency", "Latency under the load", "ms", true, plot);
    snprintf(plot, sizeof plot, "'%s' using 5:xtic(1) notitle", data);
    chart_write(script, directory, "sustained", "Highest rate sustained with p99 within 5 ms",
                "thousand takes a second", false, plot);
    snprintf(plot, sizeof plot, "'%s' using 6:xtic(1) notitle", data);
    chart_write(script, directory, "errors", "Takes without a decision", "percent", false, plot);
    snprintf(plot, sizeof plot, "'%s' using 7:xtic(1) notitle", data);
    chart_write(script, directory, "slips", "Slips: tokens granted beyond the bound", "tokens",
                false, plot);
    return fclose(script) == 0;
}

bool compare_charts(const struct way_result *results, const char *directory, char *why,
                    size_t why_size) {
    char data[SERVER_PATH_BYTES + 16], script[SERVER_PATH_BYTES + 16], printed[LOAD_WHY_BYTES];
    struct servers none = {.programs = "/nonexistent"};
    const char *argv[] = {"gnuplot", script, NULL};
    const char *mkdir_argv[] = {"mkdir", "-p", directory, NULL};
    snprintf(data, sizeof data, "%s/compare.dat", directory);
    snprintf(script, sizeof script, "%s/compare.gp", directory);
    if (server_run(&none, mkdir_argv, printed, sizeof printed) != 0 || !data_write(data, results) ||
        !script_write(script, directory, data)) {
        snprintf(why, why_size, "%s: cannot be written", directory);
        return false;
    }
    int code = server_run(&none, argv, printed, sizeof printed);
    if (code != 0) {
        printed[strcspn(printed, "\n")] = '\0';
        snprintf(why, why_size, "%s", code == 127 ? "gnuplot is not installed" : printed);
        return false;
    }
    unlink(data);
    unlink(script);
    return true;
}
