/* A board on this computer: runs the sketch SKETCH, with its serial line on standard input. */
#include "Arduino.h"
#include SKETCH
#include <stdio.h>
#include <stdlib.h>

Line Serial;

uint32_t micros() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
}

void delay(unsigned long) {}
void pinMode(int, int) {}

void digitalWrite(int pin, int value) {
    fprintf(stderr, "pin %d %s\n", pin, value == HIGH ? "high" : "low");
}

int main(int count, char **arguments) {
    setup();
    for (long turns = count > 1 ? atol(arguments[1]) : -1; turns != 0; turns -= turns > 0) loop();
    return 0;
}
