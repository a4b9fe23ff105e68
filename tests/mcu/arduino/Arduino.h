/* As much of Arduino's interface as the sketches use, on a computer: the serial line is a file descriptor. */
#pragma once
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#define LED_BUILTIN 13
enum { LOW, HIGH, INPUT, OUTPUT };

class Line {
    int wait_ms = 1000;

public:
    int descriptor = 0;
    void begin(unsigned long) {}
    void setTimeout(unsigned long ms) { wait_ms = (int)ms; }
    size_t readBytes(uint8_t *to, size_t length) {
        size_t done = 0;
        for (pollfd ready = {descriptor, POLLIN, 0}; done < length && poll(&ready, 1, wait_ms) > 0;) {
            ssize_t got = ::read(descriptor, to + done, length - done);
            if (got <= 0) _exit(0); /* the other end is gone */
            done += (size_t)got;
        }
        return done;
    }
    int read() { /* a real board polls; this waits, so that it takes no processor time */
        uint8_t byte;
        pollfd ready = {descriptor, POLLIN, 0};
        poll(&ready, 1, -1);
        return readBytes(&byte, 1) ? byte : -1;
    }
    size_t write(const uint8_t *from, size_t length) {
        size_t done = 0;
        while (done < length) {
            ssize_t put = ::write(descriptor, from + done, length - done);
            if (put <= 0) _exit(0);
            done += (size_t)put;
        }
        return done;
    }
    size_t write(uint8_t byte) { return write(&byte, 1); }
};

extern Line Serial;
uint32_t micros();
void delay(unsigned long ms);
void pinMode(int pin, int mode);
void digitalWrite(int pin, int value);
