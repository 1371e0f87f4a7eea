#include "bench/load_report.h"

#include <stdio.h>

json_t *load_report_json(const struct load_report *report) {
    const struct histogram *latency = &report->latency;
    json_t *errors = json_object(), *times = json_object();
    static const struct {
        const char *name;
        double share;
    } shares[] = {{"p50", 0.50}, {"p90", 0.90}, {"p99", 0.99}, {"p999", 0.999}};
    for (uint32_t i = 0; i < OUTCOME_ERROR_COUNT; i++) {
        if (report->errors_by[i] > 0) {
            json_object_set_new(errors, outcome_error_text(i),
                                json_integer((json_int_t)report->errors_by[i]));
        }
    }
    json_object_set_new(times, "average", json_real(histogram_average(latency) / 1e3));
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        double ns = (double)histogram_percentile(latency, shares[i].share);
        json_object_set_new(times, shares[i].name, json_real(ns / 1e3));
    }
    json_object_set_new(times, "max", json_real((double)latency->max / 1e3));
    return json_pack(
        "{s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:f, s:b}", "seconds",
        report->seconds, "asked_per_second", report->asked_per_second, "takes_per_second",
        report->takes_per_second, "takes", (json_int_t)report->takes, "granted",
        (json_int_t)report->granted, "granted_tokens", (json_int_t)report->granted_tokens,
        "refused", (json_int_t)report->refused, "degraded", (json_int_t)report->degraded, "errors",
        (json_int_t)report->errors, "errors_by_name", errors, "latency_us", times,
        "sent_late_p99_us", (double)histogram_percentile(&report->late, 0.99) / 1e3, "interrupted",
        report->interrupted);
}

void load_report_print(const struct load_report *report) {
    const struct histogram *latency = &report->latency;
    printf("takes      %llu in %.1f s: %.0f/s decided", (unsigned long long)report->takes,
           report->seconds, report->takes_per_second);
    if (report->asked_per_second > 0) {
        printf(" of %.0f/s asked", report->asked_per_second);
    }
    printf("\ndecisions  %llu granted (%llu tokens), %llu refused, %llu of them degraded\n",
           (unsigned long long)report->granted, (unsigned long long)report->granted_tokens,
           (unsigned long long)report->refused, (unsigned long long)report->degraded);
    printf("errors     %llu", (unsigned long long)report->errors);
    for (uint32_t i = 0; i < OUTCOME_ERROR_COUNT; i++) {
        if (report->errors_by[i] > 0) {
            printf("  %s %llu", outcome_error_text(i), (unsigned long long)report->errors_by[i]);
        }
    }
    printf("\nlatency    average %.1f us, p50 %.1f, p90 %.1f, p99 %.1f, p99.9 %.1f, max %.1f us\n",
           histogram_average(latency) / 1e3, (double)histogram_percentile(latency, 0.50) / 1e3,
           (double)histogram_percentile(latency, 0.90) / 1e3,
           (double)histogram_percentile(latency, 0.99) / 1e3,
           (double)histogram_percentile(latency, 0.999) / 1e3, (double)latency->max / 1e3);
    if (report->asked_per_second > 0) {
        printf("           from the time each was due; p99 of them sent within %.1f us of it\n",
               (double)histogram_percentile(&report->late, 0.99) / 1e3);
    }
}
