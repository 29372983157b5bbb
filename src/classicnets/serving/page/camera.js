// Pictures of the camera, as JPEG files: one, or one after the other while it is live.

import { byId, show } from "./dom.js";

const WHY = {
  NotAllowedError: "The browser may not use the camera. Allow it for this page, then try again.",
  NotFoundError: "There is no camera on this device. Choose an image instead.",
  NotReadableError: "The camera is in use by another program. Close that one, then try again.",
};
const INSECURE = "Browsers open the camera for https and for localhost only. Choose an image instead.";

const REST = 200; // milliseconds between two live pictures

export class Camera {
  constructor({ onFile, onFrame, onProblem, onChange }) {
    Object.assign(this, { onFile, onFrame, onProblem, onChange, stream: null });
    byId("camera-live").addEventListener("click", () => this.turnLive(!this.isLive));
    byId("camera-open").addEventListener("click", () => this.open());
    byId("camera-take").addEventListener("click", () => this.take());
    byId("camera-close").addEventListener("click", () => this.close());
    byId("camera").addEventListener("keydown", (event) => { if (event.key === "Escape") this.close(); });
    window.addEventListener("pagehide", () => this.close());
  }

  async open() {
    if (this.stream) return;
    if (!navigator.mediaDevices) {
      this.onProblem(INSECURE);
      return;
    }
    try {
      const video = { facingMode: { ideal: "environment" }, width: { ideal: 1280 }, height: { ideal: 960 } };
      this.stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
    } catch (error) {
      this.onProblem(WHY[error.name] ?? `The camera cannot be opened: ${error.message}`);
      return;
    }
    byId("video").srcObject = this.stream;
    show(byId("camera"));
    this.onChange(true);
    byId("camera-take").focus();
  }

  get isLive() {
    return byId("camera-live").getAttribute("aria-pressed") === "true";
  }

  async turnLive(on) {
    byId("camera-live").setAttribute("aria-pressed", String(on));
    const { stream } = this;
    while (this.isLive && this.stream === stream) {
      const frame = await this.frame();
      if (frame) await this.onFrame(frame);
      await new Promise((resolve) => { setTimeout(resolve, REST); });
    }
  }

  async take() {
    const frame = await this.frame();
    if (frame) this.onFile(frame);
  }

  // What the camera shows now, or null before its first picture.
  async frame() {
    const video = byId("video");
    if (!video.videoWidth) return null;
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
    return new File([blob], "camera.jpg", { type: blob.type });
  }

  close() {
    if (!this.stream) return;
    for (const track of this.stream.getTracks()) track.stop();
    this.stream = null;
    byId("camera-live").setAttribute("aria-pressed", "false");
    byId("video").srcObject = null;
    show(byId("camera"), false);
    this.onChange(false);
    byId("camera-open").focus();
  }
}
