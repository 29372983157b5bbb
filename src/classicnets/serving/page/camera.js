// Pictures of the camera, as JPEG files.

import { byId, show } from "./dom.js";

const WHY = {
  NotAllowedError: "The browser may not use the camera. Allow it for this page, then try again.",
  NotFoundError: "There is no camera on this device. Choose an image instead.",
  NotReadableError: "The camera is in use by another program. Close that one, then try again.",
};
const INSECURE = "Browsers open the camera for https and for localhost only. Choose an image instead.";

export class Camera {
  constructor({ onFile, onProblem, onChange }) {
    Object.assign(this, { onFile, onProblem, onChange, stream: null });
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

  async take() {
    const video = byId("video");
    if (!video.videoWidth) return; // the first frame has not come yet
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
    this.close();
    this.onFile(new File([blob], "camera.jpg", { type: blob.type }));
  }

  close() {
    if (!this.stream) return;
    for (const track of this.stream.getTracks()) track.stop();
    this.stream = null;
    byId("video").srcObject = null;
    show(byId("camera"), false);
    this.onChange(false);
    byId("camera-open").focus();
  }
}
